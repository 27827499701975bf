"""Which exposures are compared with each other, against lists written by hand and a loop that groups them."""
from __future__ import annotations

import struct

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from online_model.features import TASKS, Closed, Features
from online_model.pairs import PARTIAL_PLAY
from streams.core.learning.pair_buffer import TOGETHER, TOGETHER_MS, PairBuffer

FULL, COLLECT, SHARE, SKIP, DISLIKE = (1 << n for n in range(len(TASKS)))
MINUTE = 60_000
NEVER = -1


def shown(exposure: int, at: int = 0, user: int = 1) -> Features:
    return Features(struct.pack("<8Q", user, exposure, *[0] * 6), *[b""] * 7, b"\0" * 96, b"\0" * 12, -1.0, at)


def close(lists: PairBuffer, labels: dict[int, int], shown_before_ms: int = NEVER) -> None:
    lists.close(Closed(0, list(labels), list(labels.values()), shown_before_ms))


def taken(lists: PairBuffer, rows: int = 10_000) -> list[list[tuple[int, int]]]:
    """(Exposure, tier) by list."""
    out: dict[int, list[tuple[int, int]]] = {}
    for row in lists.take(rows):
        out.setdefault(row.slate, []).append((struct.unpack_from("<Q", row.features.fields, 8)[0], row.tier))
    assert list(out) == list(range(len(out)))
    return list(out.values())


def test_a_list_is_compared_once_it_has_closed_by_how_each_was_received() -> None:
    lists = PairBuffer(100)
    for exposure in (1, 2, 3, 4, 5, 6):
        lists.put(exposure, shown(exposure))
    assert taken(lists) == []
    close(lists, {1: FULL, 2: 0, 3: FULL | COLLECT, 4: PARTIAL_PLAY, 5: SHARE | DISLIKE, 6: SKIP})
    assert lists.ready == 6
    assert taken(lists) == [[(1, 2), (2, 0), (3, 3), (4, 1), (5, 0), (6, 0)]]
    assert lists.ready == 0


def test_a_list_that_was_received_alike_teaches_nothing() -> None:
    lists = PairBuffer(100)
    for exposure in (1, 2):
        lists.put(exposure, shown(exposure))
    close(lists, {1: SKIP, 2: 0})
    assert (lists.ready, taken(lists)) == (0, [])


def test_whole_lists_are_taken_the_oldest_first() -> None:
    lists = PairBuffer(100)
    for exposure in range(6):
        lists.put(exposure, shown(exposure))
    for first in (0, 2, 4):
        close(lists, {first: FULL, first + 1: 0})
    assert taken(lists, 3) == [[(0, 2), (1, 0)], [(2, 2), (3, 0)]]
    assert taken(lists, 3) == [[(4, 2), (5, 0)]]


def test_exposures_without_a_request_meet_those_of_their_user_within_half_an_hour() -> None:
    lists = PairBuffer(100)
    for exposure, (minute, user) in enumerate([(0, 1), (1, 2), (30, 1), (31, 1), (32, 2)]):
        lists.put(exposure, shown(exposure, minute * MINUTE, user))
    for exposure, labels in enumerate([FULL, FULL, 0, FULL, 0]):
        close(lists, {exposure: labels})
    assert taken(lists) == [[(0, 2), (2, 0)]]  # of user 2 there is one in each half hour
    lists.finish_all()
    assert taken(lists) == []


def test_what_waits_for_its_like_is_compared_when_no_more_can_come() -> None:
    lists = PairBuffer(100)
    lists.put(0, shown(0, 0))
    lists.put(1, shown(1, MINUTE))
    close(lists, {0: FULL}, TOGETHER_MS)
    close(lists, {1: 0}, TOGETHER_MS)
    assert taken(lists) == []
    lists.put(2, shown(2, 60 * MINUTE, user=7))
    close(lists, {2: 0}, TOGETHER_MS + 1)
    assert taken(lists) == [[(0, 2), (1, 0)]]


@given(st.lists(st.tuples(st.integers(0, 40 * MINUTE), st.integers(1, 3), st.sampled_from([0, FULL, COLLECT])), max_size=90))
def test_lists_of_exposures_without_a_request_are_those_of_a_loop(rows: list[tuple[int, int, int]]) -> None:
    lists, groups = PairBuffer(1000), dict[int, list[list[int]]]()
    for exposure, (at, user, labels) in enumerate(rows):
        lists.put(exposure, shown(exposure, at, user))
        close(lists, {exposure: labels})
        own = groups.setdefault(user, [])
        if own and len(own[-1]) < TOGETHER and abs(at - rows[own[-1][0]][0]) <= TOGETHER_MS:
            own[-1].append(exposure)
        else:
            own.append([exposure])
    lists.finish_all()
    tier = {0: 0, FULL: 2, COLLECT: 3}
    wanted = [[(e, tier[rows[e][2]]) for e in g] for own in groups.values() for g in own if len({rows[e][2] for e in g}) > 1]
    assert sorted(taken(lists)) == sorted(wanted)


def test_what_waits_is_bounded_by_whole_lists_and_what_was_dropped_is_counted() -> None:
    lists = PairBuffer(3)
    dropped = sum(lists.put(exposure, shown(exposure, user=exposure // 2)) for exposure in range(8))
    left = 0
    for first in range(0, 8, 2):
        close(lists, {first: 0, first + 1: FULL})
        found = taken(lists)
        assert found in ([], [[(first, 0), (first + 1, 2)]])
        left += 2 * len(found)
    assert 0 < left == 8 - dropped


def test_those_without_a_request_are_bounded_and_the_longest_waiting_part() -> None:
    lists = PairBuffer(3)
    for exposure in range(10, 20):
        lists.put(exposure, shown(exposure, user=exposure // 2))
        close(lists, {exposure: FULL if exposure % 2 else 0})
    assert taken(lists) == [[(10, 0), (11, 2)], [(12, 0), (13, 2)], [(14, 0), (15, 2)], [(16, 0), (17, 2)]]


def test_restored_it_goes_on() -> None:
    lists, again = PairBuffer(100), PairBuffer(100)
    for exposure in range(4):
        lists.put(exposure, shown(exposure, exposure * MINUTE))
    close(lists, {0: FULL})
    close(lists, {2: 0, 3: FULL})
    again.load({name: array.copy() for name, array in lists.arrays().items()})
    for one in (lists, again):
        close(one, {1: 0})
        one.finish_all()
    assert msgspec.msgpack.encode(again.take(100)) == msgspec.msgpack.encode(lists.take(100))
