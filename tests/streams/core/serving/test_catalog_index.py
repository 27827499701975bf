"""The catalog index against a naive oracle that looks at every item, every time."""
from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.popularity import EXPOSURE, POPULAR, Increment
from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.core.join.keys import HOUR_MS, key
from streams.core.serving import catalog_index as module
from streams.core.serving.catalog_index import CatalogIndex

DAY = 24 * HOUR_MS
START = 1_700_000_000_000


def catalog_index_of(*items: Item, now: int = START) -> CatalogIndex:
    catalog_index, catalog = CatalogIndex(), Catalog()
    for item in items:
        catalog_index.put(catalog.put(item), START)
    catalog_index.advance(now)
    return catalog_index


def k(item_id: str) -> int:
    return key("item", item_id)


def play(item_id: str, at: int = START, sign: int = 1) -> Increment:
    return Increment(k(item_id), at, POPULAR | EXPOSURE, sign)


class Naive:
    """All items in a list, judged one by one."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.deleted: set[str] = set()
        self.plays: dict[str, list[int]] = {}
        self.now = -1

    def available(self, item_id: str, unknown: bool = False) -> bool:
        item = self.items.get(item_id)
        if item is None:
            return item_id not in self.deleted and (unknown or not (self.items or self.deleted))
        published = item.published_ts is None or item.published_ts <= self.now
        return published and not item.hidden and (item.expires_ts is None or self.now < item.expires_ts)

    def popularity(self, item_id: str) -> float:
        return sum(2.0 ** (-(self.now - at) / DAY) for at in self.plays.get(item_id, []))


IDS = ("a", "b", "c", "d", "e")
steps = st.one_of(
    st.builds(
        Item,
        item_id=st.sampled_from(IDS),
        domain=st.sampled_from([None, "song", "video"]),
        categories=st.lists(st.sampled_from("xy"), max_size=2).map(tuple),
        published_ts=st.none() | st.integers(0, 20),
        expires_ts=st.none() | st.integers(0, 20),
        hidden=st.sampled_from([False, False, True]),
    ),
    st.tuples(st.just("delete"), st.sampled_from(IDS)),
    st.tuples(st.just("play"), st.sampled_from(IDS)),
    st.tuples(st.just("time"), st.integers(0, 25)),
)


@given(st.lists(steps, max_size=30))
def test_indexes_hold_what_may_be_shown_and_nothing_else(changes: list[Item | tuple[str, object]]) -> None:
    catalog_index, catalog, naive = CatalogIndex(), Catalog(), Naive()
    for n, change in enumerate(changes):
        if isinstance(change, Item):
            catalog_index.put(catalog.put(change), n)
            naive.items[change.item_id] = change
            naive.deleted.discard(change.item_id)
        elif change[0] == "delete":
            name = str(change[1])
            catalog.delete(name)
            catalog_index.delete(k(name))
            naive.items.pop(name, None)
            naive.plays.pop(name, None)
            naive.deleted.add(name)
        elif change[0] == "play":
            name = str(change[1])
            catalog_index.add(play(name, naive.now))
            if name not in naive.deleted:
                naive.plays.setdefault(name, []).append(naive.now)
        else:
            naive.now = max(naive.now, int(change[1]))  # type: ignore[call-overload]
            catalog_index.advance(naive.now)
    for unknown in (False, True):
        assert [name for name in IDS if catalog_index.available(k(name), unknown)] == [n for n in IDS if naive.available(n, unknown)]
    several = [n for n, i in naive.items.items() if naive.available(n) and len(set(i.categories)) > 1]
    assert catalog_index.shared_items == len(several)
    for domain, category in itertools.product((None, "song", "video"), (None, "x", "y")):
        wanted = [
            n for n, i in naive.items.items()
            if naive.available(n) and domain in (None, i.domain) and category in (None, *i.categories)
        ]  # fmt: skip
        of = key("domain", domain) if domain else None
        if category is None:
            candidate_index = catalog_index.of_domain(of)
        elif wanted:
            candidate_index = catalog_index.categories(of)[key("category", category)]
        else:
            assert key("category", category) not in catalog_index.categories(of)
            continue
        assert sorted(candidate_index.items) == sorted(k(n) for n in wanted)
        played = [n for n in wanted if naive.plays.get(n)]
        assert list(candidate_index.popular()) == [k(n) for n in sorted(played, key=lambda n: (-len(naive.plays[n]), k(n)))]
        told = [n for n in wanted if naive.items[n].published_ts is not None]
        newest = [f for f in candidate_index.newest() if f in {k(n) for n in told}]
        assert newest == [k(n) for n in sorted(told, key=lambda n: (-(naive.items[n].published_ts or 0), k(n)))]
    for name in IDS:
        assert catalog_index.popularity(k(name), naive.now) == pytest.approx(naive.popularity(name), rel=1e-6)


@given(st.permutations([("a", 0), ("a", 30), ("b", 10), ("b", 20), ("b", 29), ("c", 48), ("a", 5)]))
def test_popularity_is_the_decayed_count_in_any_order_of_events(events: list[tuple[str, int]]) -> None:
    catalog_index = catalog_index_of(*(Item(item_id=i) for i in "abc"))
    for name, hour in events:
        catalog_index.add(play(name, START + hour * HOUR_MS))
    now = START + 50 * HOUR_MS
    for name, hours in {"a": (0, 5, 30), "b": (10, 20, 29), "c": (48,)}.items():
        assert catalog_index.popularity(k(name), now) == pytest.approx(sum(2 ** (-(50 - h) / 24) for h in hours), rel=1e-9)


def test_what_an_undo_takes_back_is_gone() -> None:
    catalog_index = catalog_index_of(Item(item_id="a"), Item(item_id="b"))
    catalog_index.add(play("a"))
    catalog_index.add(play("b"))
    catalog_index.add(play("b", START + HOUR_MS))
    catalog_index.add(play("a", sign=-1))
    catalog_index.add(play("b", sign=-1))
    assert list(catalog_index.of_domain(None).popular()) == [k("b")]
    assert catalog_index.popularity(k("b"), START + HOUR_MS) == pytest.approx(1.0)
    catalog_index.add(Increment(k("a"), START, EXPOSURE))  # shown, not liked
    assert catalog_index.popularity(k("a"), START) == 0.0


def test_known_popularity_is_seeded() -> None:
    catalog_index = catalog_index_of(Item(item_id="a"), Item(item_id="b"))
    catalog_index.seed(k("a"), 3.0, START)
    catalog_index.seed(k("b"), 0.0, START)
    catalog_index.add(play("a"))
    assert catalog_index.popularity(k("a"), START + DAY) == pytest.approx(2.0)
    assert list(catalog_index.of_domain(None).popular()) == [k("a")]


def test_without_a_catalog_what_events_name_may_be_shown_with_one_it_may_not() -> None:
    catalog_index = CatalogIndex()
    for name in ("a", "b"):
        catalog_index.add_uncatalogued(name)
    catalog_index.add(play("b"))
    catalog_index.add(play("never named"))
    assert catalog_index.available(k("a")) and catalog_index.available(k("never named"))
    for domain in (None, key("domain", "song")):
        assert sorted(catalog_index.of_domain(domain).items) == sorted([k("a"), k("b")])
    assert list(catalog_index.of_domain(None).popular()) == [k("b")]
    assert catalog_index.name(k("b")) == "b" and catalog_index.name(k("gone")) is None
    catalog_index.delete(k("gone"))
    catalog_index.put(Catalog().put(Item(item_id="b", domain="song")), START)
    catalog_index.add_uncatalogued("c")
    assert catalog_index.of_domain(None).items == [k("b")] == list(catalog_index.of_domain(key("domain", "song")).popular())
    assert not catalog_index.available(k("a")) and not catalog_index.available(k("gone"))  # not even when a request names them
    assert catalog_index.available(k("a"), unknown=True) and not catalog_index.available(k("gone"), unknown=True)


def test_what_is_remembered_of_uncatalogued_items_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    catalog_index = CatalogIndex()
    for n in range(100):
        catalog_index.add_uncatalogued(f"i{n}")
        catalog_index.add(play(f"i{n}"))
    assert len(catalog_index.of_domain(None)) == 10 and k("i99") in catalog_index.of_domain(None)
    assert len(list(catalog_index.of_domain(None).popular())) <= 10
    for n in range(100):
        catalog_index.delete(k(f"d{n}"))
    assert [catalog_index.available(k(f"d{n}"), unknown=True) for n in (0, 89, 90, 99)] == [True, True, False, False]
    assert not any(catalog_index.available(k(f"d{n}")) for n in range(100))


def test_a_catalog_that_is_empty_again_is_still_one() -> None:
    catalog_index = catalog_index_of(Item(item_id="a"))
    catalog_index.delete(k("a"))
    restarted = CatalogIndex()
    restarted.catalogued = True  # nothing is left of its log, but it was written
    for one in (catalog_index, restarted):
        one.add_uncatalogued("a")
        one.add_uncatalogued("b")
        one.add(play("b"))
        assert len(one.of_domain(None)) == 0 and not one.available(k("a")) and not one.available(k("b"))
