"""What is played right after what: by hand, against decayed counts in plain loops, and as candidates of a list."""
from __future__ import annotations

from collections.abc import Iterable, Mapping

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
from streams.core.join.co_listening import EACH, HALF_LIFE_MS, CoListening
from streams.core.join.decode import decode
from streams.core.join.events import Event
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.serving.recommend import RecommendSettings
from streams.core.state.digest import digest
from streams.core.state.tables import Row, Tables
from tests.streams.core.serving.test_catalog_index import catalog_index_of
from tests.streams.core.serving.test_recommend import START, House, by_name, event, k

DAY = 24 * HOUR_MS


def counts(row: bytes, at: int) -> dict[int, float]:
    """Decayed counts of a row."""
    return {item: 2.0 ** (score - at / HALF_LIFE_MS) for item, score in co_listening._PAIR.iter_unpack(row)}


def naive(events: list[tuple[int, int]], at: int) -> dict[int, float]:
    """The same of (item, ts), one by one."""
    out: dict[int, float] = {}
    for item, ts in events:
        out[item] = out.get(item, 0.0) + 2.0 ** (-(at - ts) / (30 * DAY))
    return out


def folded(events: list[tuple[int, int]]) -> bytes:
    row = b""
    for item, ts in events:
        row = co_listening.add(row, item, ts)
    return row


EVENTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 100).map(lambda d: START + d * DAY)), min_size=1, max_size=40)


@given(EVENTS, st.integers(0, 2))
def test_a_row_holds_decayed_counts_in_any_order_and_parts_add_up(events: list[tuple[int, int]], parts: int) -> None:
    at = START + 100 * DAY
    wanted = pytest.approx(naive(events, at), rel=1e-6)
    assert counts(folded(events), at) == wanted
    assert counts(folded(events[::-1]), at) == wanted
    assert counts(co_listening.merge(folded(events[n :: parts + 1]) for n in range(parts + 1)), at) == wanted


def test_of_too_many_followers_the_rarest_goes() -> None:
    row = folded([(n, START) for n in range(1, EACH + 1)] + [(n, START + DAY) for n in range(2, EACH + 1)])
    assert set(counts(row, START)) == set(range(1, EACH + 1))
    row = co_listening.add(row, 99, START + DAY)
    assert set(counts(row, START)) == {*range(2, EACH + 1), 99}
    assert set(counts(co_listening.merge([row, folded([(7, START + 40 * DAY), (200, START)])]), START)) == {*range(2, EACH + 1), 99}


def test_what_follows_the_last_items_comes_by_its_shares() -> None:
    of = CoListening()
    for before, after, times in ((1, 10, 3), (1, 11, 1), (2, 11, 1), (2, 12, 1), (3, 13, 1)):
        for _ in range(times):
            of.add(before, after, START)
    # 1 is the newest: 10 = 3/4, 11 = 1/4 + .7/2, 12 = .7/2; nothing followed 9
    assert list(of.after([1, 2])) == [10, 11, 12]
    assert list(of.after([2, 1])) == [11, 10, 12]  # 11 = 1/2 + .7/4, 10 = .7 * 3/4 = .525, 12 = .5
    assert list(of.after([9])) == list(of.after([])) == []
    of.drop(1)
    assert list(of.after([1, 2])) == [11, 12]


def test_only_those_followed_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(co_listening, "ITEMS", 2)
    of = CoListening()
    for before in (1, 2, 1, 3):
        of.add(before, 10, START)
    assert [list(of.after([before])) for before in (1, 2, 3)] == [[10], [], [10]]


def test_the_past_is_of_all_domains_newest_first_and_each_item_once() -> None:
    songs, others = b"", append(b"", 50, START + 3, 6, FULL_PLAY, 50)
    for n, item in enumerate((1, 2, 3, 2, 4, 5, 6, 7, 8)):
        songs = append(songs, item, START + n, 5, FULL_PLAY, 50)
    assert co_listening.past([songs, b"", others]) == [8, 7, 6, 5, 4, 2, 50, 3]  # PAST; 2 and 50 at one moment
    assert co_listening.past([]) == []


def test_a_share_is_of_decayed_counts_and_two_others() -> None:
    row = folded([(10, START)] * 3 + [(11, START)])
    assert co_listening.shares(row, START) == {10: pytest.approx(3 / 6), 11: pytest.approx(1 / 6)}
    later = START + HALF_LIFE_MS
    assert co_listening.shares(row, later) == {10: pytest.approx(1.5 / 4), 11: pytest.approx(0.5 / 4)}


def listening(house: House, of: Mapping[str, str]) -> None:
    """Users play one and, a minute later, another."""
    for n, (first, second) in enumerate(of.items()):
        house.take(event("play", first, f"v{n}", START, full=True), event("play", second, f"v{n}", START + 60_000, full=True))


FEW = RecommendSettings(explore_share=0.0, popular_candidates=2, fresh_candidates=0, explore_candidates=0, no_repeat_window_ms=0)


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
    assert list(house.catalog_index.co_listening.after([k("a")])) == [k("c")]
    assert list(house.catalog_index.co_listening.after([k("b")])) == list(house.catalog_index.co_listening.after([k("c")])) == []


def test_a_deleted_item_is_followed_by_nothing() -> None:
    catalog_index = catalog_index_of(Item(item_id="a"), Item(item_id="b"))
    catalog_index.co_listening.add(k("a"), k("b"), START)
    catalog_index.delete(k("a"))
    assert list(catalog_index.co_listening.after([k("a")])) == []


def rows_of_the_first_format(popularity: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Reads `popularity` as the first format wrote it: rows of items, and co-listening rows under `f` and the item's key."""
    rows = list(popularity)
    return [row for row in rows if len(row[0]) == 8], [(key[1:], row) for key, row in rows if len(key) == 9 and key[:1] == b"f"]


def test_the_rows_of_the_first_format_are_those_of_the_two_tables() -> None:
    """The first format's writer is the rule that both were folded by, with its keys; its digest is what the last version with it gave."""
    partition = Partition(PartitionSettings(repeat_limit=1e18), Tables.over(), Catalog())  # every repeat counted whole
    decay, first, rejected = of_item(), dict[bytes, bytes](), 0
    for n, line in enumerate(simulate_log(WorldSettings(), 1_000, seed=3)):
        effects = partition.apply([Arrived(n, i, getattr(r, "ts", 0), r, f"{n}-{i}") for i, r in enumerate(decode(line.rstrip(b"\n")))])
        rejected += len(effects.dead)
        for one in effects.popularity:
            key = one.item.to_bytes(8, "big")
            first[key] = decay.add(first.get(key), one.ts, increments(one.mask, one.sign))
            if one.after:
                key = b"f" + one.after.to_bytes(8, "big")
                first[key] = co_listening.add(first.get(key), one.item, one.ts)
    popularity, followers = rows_of_the_first_format(first.items())
    assert dict(popularity) == dict(partition.tables.popularity.rows())
    assert dict(followers) == dict(partition.tables.co_listening.rows())
    assert (rejected, len(popularity), len(followers)) == (0, 272, 178)
    empty: dict[str, Iterable[Row]] = dict.fromkeys(partition.tables.named(), ())
    assert digest(empty | {"popularity": first.items()})["popularity"] == "2281e509f04d64cb60fcdcf3300b7687"
