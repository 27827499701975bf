"""Packed histories against plain lists."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from online_model import history
from online_model.decay import HOUR_MS
from tests import strategies
from tests.oracles import history as naive

Row = tuple[int, int, int, int]  # item, ts, domain, action
limits = st.integers(1, 8)
START = 1_700_000_000_000


def packed(rows: list[Row], limit: int = 50) -> bytes:
    out = b""
    for item, ts, domain, action in rows:
        out = history.append(out, item, ts, domain, action, limit)
    return out


def unpacked(data: bytes) -> list[Row]:
    return [tuple(map(int, row)) for row in np.frombuffer(data, history.BEHAVIOUR).tolist()]  # type: ignore[misc]


@given(strategies.many_behaviours, limits)
def test_append_keeps_time_order_and_the_newest(rows: list[Row], limit: int) -> None:
    expected: list[Row] = []
    for row in rows:
        expected = naive.append(expected, row, limit)
    assert unpacked(packed(rows, limit)) == expected


def test_an_older_behaviour_than_a_full_history_holds_is_not_kept() -> None:
    full = packed([(1, 10, 0, 1), (2, 20, 0, 1)], 2)
    assert history.append(full, 3, 5, 0, 1, 2) == full


def test_equal_times_keep_the_order_of_arrival() -> None:
    assert unpacked(packed([(1, 5, 0, 1), (2, 5, 0, 2), (3, 4, 0, 3)])) == [(3, 4, 0, 3), (1, 5, 0, 1), (2, 5, 0, 2)]


@given(strategies.many_behaviours, strategies.few_keys, st.integers(1, history.ACTIONS - 1))
def test_undo_removes_the_newest_of_its_kind_only(rows: list[Row], item: int, action: int) -> None:
    before = packed(rows)
    assert unpacked(history.undo(before, item, action)) == naive.undo(unpacked(before), item, action)


@given(strategies.many_behaviours, strategies.behaviours)
def test_undo_takes_back_an_append_that_is_the_newest_of_its_kind(rows: list[Row], row: Row) -> None:
    item, _, _, action = row
    before = packed([r for r in rows if (r[0], r[3]) != (item, action)])
    assert history.undo(history.append(before, *row, 50), item, action) == before


@given(st.lists(strategies.many_behaviours, max_size=4), limits)
def test_merge_is_the_stable_sort_of_all(histories: list[list[Row]], limit: int) -> None:
    parts = [packed(rows) for rows in histories]
    assert unpacked(history.merge(parts, limit)) == naive.merge([unpacked(p) for p in parts], limit)


@given(strategies.many_behaviours, strategies.many_behaviours, limits)
def test_two_histories_that_share_behaviours_have_each_once(first: list[Row], second: list[Row], limit: int) -> None:
    """Of one user: equal rows in both are the same behaviour; an order among equal times is that of the first, then the second."""
    one, other = unpacked(packed(first)), unpacked(packed(second))
    expected = naive.merge([one, [row for row in other if row not in one]] if one and other else [one or other], limit)
    assert unpacked(history.distinct(packed(first), packed(second), limit)) == expected


def test_a_row_is_25_little_endian_bytes() -> None:
    assert history.ROW == history.BEHAVIOUR.itemsize == 25
    assert packed([(1, 2, 3, 4)]) == b"\x01" + b"\0" * 7 + b"\x02" + b"\0" * 7 + b"\x03" + b"\0" * 7 + b"\x04"
    assert unpacked(packed([(2**64 - 1, 4_102_444_800_000, 7, 6)])) == [(2**64 - 1, 4_102_444_800_000, 7, 6)]


def test_no_history_is_no_rows() -> None:
    assert history.merge([], 5) == history.merge([b"", b""], 5) == history.undo(b"", 1, 1) == b""
    assert len(np.frombuffer(b"", history.BEHAVIOUR)) == 0


@given(strategies.many_behaviours, st.integers(0, 12), st.sampled_from([1.0, 4.0]))
def test_counts_halve_with_each_half_life_of_age(rows: list[Row], ts: int, half_life: float) -> None:
    expected = [0.0] * (history.ACTIONS - 1)
    for _, at, _, action in rows:
        expected[action - 1] += 0.5 ** (max(ts - at, 0) / half_life)
    assert history.counts(packed(rows), ts, half_life) == approx(expected)


@pytest.mark.parametrize(
    ("minute", "wanted"),
    [(0, [2, 4]), (59, [2, 4]), (60, [2]), (61, []), (-1, [])],
    ids=["at once", "within the hour", "to the ms", "later", "before"],
)
def test_the_newest_behaviours_are_those_of_all_histories_until_a_moment(minute: int, wanted: list[int]) -> None:
    songs = history.append(history.append(b"", 1, START - 9 * HOUR_MS, 5, history.FULL_PLAY, 50), 2, START, 5, history.COLLECT, 50)
    others = history.append(b"", 4, START - 1, 6, history.FULL_PLAY, 50)
    for histories in ([songs, others], [others, b"", songs]):
        found = history.newest_first(histories, START + minute * 60_000, HOUR_MS, 5)
        assert [item for item, _ in found] == wanted
    assert history.newest_first([], START, HOUR_MS, 5) == history.newest_first([b""], START, HOUR_MS, 5) == []
    assert history.newest_first([songs], START, START, 1) == [(2, START)]
    assert history.newest_first([songs], START, START, 2) == history.newest_first([songs], START, START, 9)
    as_new = history.append(b"", 4, START, 6, history.FULL_PLAY, 50)
    assert history.newest_first([songs, as_new], START, HOUR_MS, 5) == [(4, START), (2, START)]  # the domain that changed last first


def test_what_comes_before_a_play_is_other_items_of_the_hour() -> None:
    songs = b""
    for minute, item in enumerate((1, 2, 3, 2, 4, 5)):
        songs = history.append(songs, item, START + minute * 60_000, 5, history.FULL_PLAY, 50)

    def before(item: int, minute: int) -> list[int]:
        return history.taken_before([songs], item, START + minute * 60_000, HOUR_MS, 4)

    assert before(9, 6) == [5, 4, 2, 3]
    assert before(4, 6) == [5, 2, 3, 1]
    assert before(5, 6) == []  # the same again leads nowhere
    assert before(9, 63) == [5, 4, 2]
    assert before(9, 1) == [2, 1]  # a play that comes late follows what was before it


def test_of_one_item_and_action_a_history_keeps_a_quarter_and_a_collect_that_can_still_be_undone() -> None:
    rows = [(1, 0, 0, history.COLLECT), (2, 1, 0, history.FULL_PLAY)] + [(1, 2 + n, 0, history.FULL_PLAY) for n in range(500)]
    kept = unpacked(packed(rows, 20))
    assert kept == [*rows[:2], *rows[-5:]]
    assert unpacked(history.undo(packed(rows, 20), 1, history.COLLECT)) == [rows[1], *rows[-5:]]
