"""What is played right after what: by hand, against decayed counts in plain loops, and as candidates of a list."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.batch import Batch
from online_model.features import FIELDS
from online_model.history import FULL_PLAY, append
from online_model.popularity import increments, of_item
from online_model.trainer import Prediction
from replay.simulator.open_loop import simulate_log
from replay.simulator.world import WorldSettings
from streams.core.join import co_listening
from streams.core.join.catalog import Catalog
from streams.core.join.co_listening import EACH, HALF_LIFE_MS, CoListening, Nearness
from streams.core.join.decode import decode
from streams.core.join.events import Event
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.serving.recommend import RecommendSettings
from streams.core.state.tables import Table, Tables
from tests.streams.core.serving.test_catalog_index import catalog_index_of
from tests.streams.core.serving.test_recommend import START, House, by_name, event, k

DAY = 24 * HOUR_MS
Pair = tuple[float, float]  # as what came right after, as what is near


def counts(row: bytes, at: int) -> dict[int, Pair]:
    """Decayed counts of a row."""
    entries = co_listening._ENTRY.iter_unpack(row[co_listening._SUMS.size :])
    return {item: (2.0 ** (after - at / HALF_LIFE_MS), 2.0 ** (near - at / HALF_LIFE_MS)) for item, after, near in entries}


def sums(row: bytes, at: int) -> Pair:
    after, near = co_listening._SUMS.unpack_from(row)
    return 2.0 ** (after - at / HALF_LIFE_MS), 2.0 ** (near - at / HALF_LIFE_MS)


Play = tuple[int, list[int], int]  # item, the others before it, nearest first; ts


def naive(plays: list[Play], of: int, at: int) -> dict[int, Pair]:
    """The neighbours of an item, one by one."""
    out: dict[int, Pair] = {}
    for item, before, ts in plays:
        faded = 2.0 ** (-(at - ts) / (365 * DAY))
        for n, each in enumerate(before):
            near = 0.7**n * faded
            for mine, other, pair in ((each, item, (0.0 if n else faded, near)), (item, each, (0.0, near / 2))):
                if mine == of:
                    out[other] = out.get(other, (0.0, 0.0))[0] + pair[0], out.get(other, (0.0, 0.0))[1] + pair[1]
    return out


def folded(plays: list[Play], of: int) -> bytes:
    table = Table(bytes, bytes)
    for item, before, ts in plays:
        co_listening.follow(table, before, item, ts)
    return table.get(of.to_bytes(8, "big")) or b""


PLAYS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 9), min_size=2, max_size=5, unique=True), st.integers(0, 400).map(lambda day: START + day * DAY)
    ).map(lambda play: (play[0][0], play[0][1:], play[1])),
    min_size=1, max_size=40,
)  # fmt: skip


@given(PLAYS, st.integers(0, 2))
def test_a_row_holds_decayed_counts_in_any_order_and_parts_add_up(plays: list[Play], parts: int) -> None:
    at, of = START + 400 * DAY, plays[0][0]
    wanted = naive(plays, of, at)
    split = [folded(plays[n :: parts + 1], of) for n in range(parts + 1)]
    for row in (folded(plays, of), folded(plays[::-1], of), co_listening.merge([part for part in split if part])):
        found = counts(row, at)
        assert found.keys() == wanted.keys()
        for item, pair in wanted.items():
            assert found[item] == pytest.approx(pair, rel=1e-9)
        assert sums(row, at) == pytest.approx([sum(column) for column in zip(*wanted.values(), strict=True)], rel=1e-9)


def test_of_too_many_neighbours_the_rarest_goes_and_still_counts_in_the_sum() -> None:
    row: bytes | None = None
    for n in [*range(1, EACH + 1), *range(2, EACH + 1), 99]:
        row = co_listening.add(row, [(n, 1.0, 1.0)], START)
    assert row is not None and set(counts(row, START)) == {*range(2, EACH + 1), 99}
    assert sums(row, START) == pytest.approx([2 * EACH, 2 * EACH])
    other = co_listening.add(co_listening.add(None, [(7, 1.0, 1.0)], START), [(200, 0.0, 0.5)], START)
    assert set(counts(co_listening.merge([row, other]), START)) == {*range(2, EACH + 1), 99}


def test_what_is_near_to_the_last_items_comes_by_the_sum_of_its_shares() -> None:
    first, second = folded([(10, [1], START)] * 3 + [(11, [1], START)], 1), folded([(11, [2], START), (12, [2], START)], 2)
    near = Nearness([first, second], START, follows=True)
    # of 1: 10 has 3 of 4, and 2 others; 11 the rest. Of 2: 11 and 12 have 1 of 2, and 2 others; .8 of that counts
    shares = {10: 3 / 6, 11: 1 / 6 + 0.8 / 4, 12: 0.8 / 4, 13: 0.0}
    assert {item: near.near(item) for item in shares} == pytest.approx(shares)
    assert near.best() == [10, 11, 12]
    assert {item: near.next(item) for item in (10, 11, 12)} == pytest.approx({10: 3 / 6, 11: 1 / 6, 12: 0.0})
    assert Nearness([second, first], START, follows=True).best() == [10, 11, 12]  # .8 * 3/6 = .4, 1/4 + .8/6 = .38, 1/4
    assert Nearness([first], START, follows=False).next(10) == 0.0
    assert Nearness([b"", b""], START, follows=True).best() == Nearness([], START, follows=True).best() == []


def test_of_equal_items_the_smallest_key_is_nearest_and_a_row_of_parts_of_a_key_is_no_entry() -> None:
    row = folded([(12, [1], START), (11, [1], START)], 1)
    assert Nearness([row], START, follows=True).best() == [11, 12]
    within = int.from_bytes(row[20:28], "little")  # bytes that two fields share
    assert Nearness([row], START, follows=True).near(within) == 0.0


def test_only_those_counted_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_listening, "ITEMS", 3)
    of = CoListening()
    for before in (1, 2, 1, 3):
        of.add([before], 10, START)
    assert [bool(of.row(item)) for item in (1, 2, 3, 10)] == [True, False, True, True]


def test_the_past_is_of_all_domains_newest_first_and_each_item_once() -> None:
    songs, others = b"", append(b"", 50, START + 3, 6, FULL_PLAY, 50)
    for n, item in enumerate((1, 2, 3, 2, 4, 5, 6, 7, 8)):
        songs = append(songs, item, START + n, 5, FULL_PLAY, 50)
    past = co_listening.past([songs, b"", others], START + 100)
    assert list(past) == [8, 7, 6, 5, 4, 50, 2, 3]  # PAST; 50 and 2 at one moment, 50 in the domain that changed last
    assert past[50] == past[2] == START + 3
    assert co_listening.past([], START) == {}


def listening(house: House, of: Mapping[str, str]) -> None:
    """Users play one and, a minute later, another."""
    for n, (first, second) in enumerate(of.items()):
        house.take(event("play", first, f"v{n}", START, full=True), event("play", second, f"v{n}", START + 60_000, full=True))


FEW = RecommendSettings(
    explore_share=0.0, popular_candidates=2, fresh_candidates=0, explore_candidates=0, own_candidates=0, no_repeat_window_ms=0
)


def test_what_others_played_next_is_a_candidate_though_it_is_not_popular() -> None:
    house = House([Item(item_id=i, domain="song") for i in "abcdefg"], FEW)
    house.take(*[event("play", item, f"w{n}", START - DAY, full=True) for n, item in enumerate("aaaaaabbbbbcc")])
    listening(house, {"d": "e"})
    house.take(event("play", "d", "u", START + 120_000, full=True))
    answer, exposure = house.ask(by_name("eab"), user_id="u", k=2, ts=START + 180_000)
    assert [(item.item_id, item.source) for item in answer.items] == [("e", "co-listened"), ("a", "popular")]  # in b's place
    assert exposure is not None and [slot.source for slot in exposure.slots] == ["co-listened", "popular"]
    other, _ = house.ask(by_name("eab"), user_id="x", k=2, ts=START + 180_000)
    assert [(item.item_id, item.source) for item in other.items] == [("a", "popular"), ("b", "popular")]
    without = House([Item(item_id=i) for i in "abcde"], RecommendSettings(explore_share=0.0, co_listened_candidates=0))
    listening(without, {"d": "e"})
    assert {item.source for item in without.ask(by_name("eabcd"), user_id="v0", ts=START + 180_000)[0].items} <= {"popular", "fresh"}


def test_what_is_served_and_learned_by_it_is_one_share() -> None:
    house, seen = House([Item(item_id=i, domain="song") for i in "abc"], FEW), list[Batch]()
    for n in range(4):
        house.take(event("play", "a", f"v{n}", START, full=True), event("play", "bc"[n == 3], f"v{n}", START + 60_000, full=True))
    house.take(event("play", "a", "u", START + 120_000, full=True))

    def score(batch: Batch, gamma_user: float, gamma_item: float) -> Prediction:
        seen.append(batch)
        return by_name("abc")(batch, gamma_user, gamma_item)

    for minutes, wanted in ((3, {"b": 3 / 6, "c": 1 / 6, "a": 0.0}), (63, {"b": 0.0, "c": 0.0, "a": 0.0})):  # then a is no longer the last
        at = START + minutes * 60_000
        _, exposure = house.ask(score, user_id="u", k=3, candidates=("a", "b", "c"), ts=at, request_id=f"r{minutes}")
        served = dict(zip(seen[-1].fields[:, FIELDS.index("item")].tolist(), seen[-1].followed.tolist(), strict=True))
        assert served == {k(item): pytest.approx(share, rel=1e-3, abs=1e-9) for item, share in wanted.items()}
        assert exposure is not None
        plays = [event("play", i, at=at + 1, request_id=f"r{minutes}", full=True) for i in "abc"]
        for example in house.take(exposure, *plays):
            item = int(np.frombuffer(example.features.fields, "<u8")[FIELDS.index("item")])
            assert np.float32(example.features.followed) == np.float32(served[item])


def test_what_must_not_be_shown_is_no_candidate_by_being_followed() -> None:
    items = [Item(item_id="a", domain="song"), Item(item_id="b", domain="video"), Item(item_id="c", domain="song", hidden=True)]
    house = House([*items, Item(item_id="d", domain="song"), Item(item_id="x", domain="song")], FEW)
    for after in "bcdx":
        house.take(event("play", "a", f"v{after}", START, full=True), event("play", after, f"v{after}", START + 60_000, full=True))
    house.catalog_index.delete(k("x"))
    house.take(event("play", "a", "u", START, full=True))
    answer, _ = house.ask(by_name("d"), user_id="u", k=3, domain="song", ts=START + 120_000, exclude=("a",))
    assert [(item.item_id, item.source) for item in answer.items] == [("d", "co-listened")]


def test_skips_collects_of_what_plays_and_what_was_undone_lead_nowhere() -> None:
    house = House([Item(item_id=i) for i in "abc"], FEW)
    acts: list[Event] = [
        event("play", "a", at=START, full=True), event("skip", "b", at=START + 1_000), event("collect", "a", at=START + 2_000),
        event("uncollect", "a", at=START + 3_000), event("play", "c", at=START + 4_000, full=True),
    ]  # fmt: skip
    house.take(*acts)
    rows = {item: house.catalog_index.co_listening.row(k(item)) for item in "abc"}
    assert {item: list(counts(row, START)) for item, row in rows.items() if row} == {"a": [k("c")], "c": [k("a")]}
    assert counts(rows["c"], START)[k("a")] == pytest.approx((0.0, 0.5), rel=1e-6)


def test_nothing_is_near_to_a_deleted_item() -> None:
    catalog_index = catalog_index_of(Item(item_id="a"), Item(item_id="b"))
    catalog_index.co_listening.add([k("a")], k("b"), START)
    catalog_index.delete(k("a"))
    assert catalog_index.co_listening.row(k("a")) == b""


def test_increments_alone_make_the_rows_that_their_partition_has() -> None:
    """As every other partition's worker folds them."""
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    decay, popularity, near = of_item(), dict[bytes, bytes](), Table(bytes, bytes)
    for n, line in enumerate(simulate_log(WorldSettings(), 1_000, seed=3)):
        effects = partition.apply([Arrived(n, i, getattr(r, "ts", 0), r, f"{n}-{i}") for i, r in enumerate(decode(line.rstrip(b"\n")))])
        for one in effects.popularity:
            key = one.item.to_bytes(8, "big")
            popularity[key] = decay.add(popularity.get(key), one.ts, increments(one.mask, one.sign, one.weight))
            co_listening.follow(near, one.before, one.item, one.ts, one.weight)
    assert popularity == dict(partition.tables.popularity.rows())
    assert dict(near.rows()) == dict(partition.tables.co_listening.rows())
    assert len(popularity) > 200 and len(dict(near.rows())) > 150
