"""Conditions on items, by hand; and the index of what meets them against a look at every item, whatever comes and goes."""
from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.core.join.keys import key
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.shaping.item_filter import ItemFilter

START = 1_700_000_000_000
SONG = Item(
    item_id="so-what", domain="song", artist_id="miles", categories=("jazz", "modal"), published_ts=START,
    features={"bpm": 136, "live": False, "label": "columbia", "takes": 1},
)  # fmt: skip


def wanted(**fields: Any) -> ItemFilter:
    return msgspec.convert(fields, ItemFilter)


@pytest.mark.parametrize(
    ("fields", "meets"),
    [
        ({}, True),
        ({"domains": ["song", "video"]}, True),
        ({"domains": ["video"]}, False),
        ({"artists": ["miles"]}, True),
        ({"artists": ["coltrane"]}, False),
        ({"categories": {"any": ["rock", "modal"]}}, True),
        ({"categories": {"all": ["jazz", "rock"]}}, False),
        ({"categories": {"all": ["jazz", "modal"], "none": ["rock"]}}, True),
        ({"categories": {"none": ["modal"]}}, False),
        ({"features": {"label": "columbia", "bpm": 136.0}}, True),
        ({"features": {"bpm": {"min": 136}}}, True),
        ({"features": {"bpm": {"min": 100, "max": 135.9}}}, False),
        ({"features": {"live": False}}, True),
        ({"features": {"live": 0}}, False),  # a flag is no number
        ({"features": {"takes": True}}, False),
        ({"features": {"live": {"max": 1}}}, False),
        ({"features": {"label": {"min": 0}}}, False),
        ({"features": {"mood": "blue"}}, False),  # not known of it
        ({"published_since": START}, True),
        ({"published_since": START + 1}, False),
        ({"domains": ["song"], "artists": ["miles"], "published_since": START + 1}, False),
    ],
)
def test_an_item_meets_all_conditions_or_does_not_match(fields: dict[str, Any], meets: bool) -> None:
    catalog, index = Catalog(), CatalogIndex()
    index.put(catalog.put(SONG), START)
    index.advance(START)
    assert index.matches(key("item", "so-what"), wanted(**fields)) == meets == (list(index.matching(None, wanted(**fields)).items) != [])
    assert not index.matches(key("item", "unheard"), wanted(**fields))


@pytest.mark.parametrize("bad", [{}, {"min": 2, "max": 1}, {"least": 1}])
def test_a_range_without_bounds_or_upside_down_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError, match="range has|at most|unknown field"):
        wanted(features={"bpm": bad})


NAMES = [f"i{n}" for n in range(9)]
records = st.builds(
    Item, item_id=st.sampled_from(NAMES), domain=st.sampled_from([None, "song", "video"]), artist_id=st.sampled_from([None, "a", "b"]),
    categories=st.lists(st.sampled_from("xyz"), max_size=3, unique=True).map(tuple), published_ts=st.integers(START - 4, START + 2),
    hidden=st.booleans(), features=st.fixed_dictionaries({}, optional={"n": st.integers(0, 3), "m": st.booleans()}),
)  # fmt: skip
few = st.lists(st.sampled_from("xyz"), max_size=2)
filters = st.fixed_dictionaries(
    {},
    optional={
        "domains": st.lists(st.sampled_from(["song", "video", "radio"]), max_size=2),
        "artists": st.lists(st.sampled_from("abc"), max_size=2),
        "categories": st.fixed_dictionaries({}, optional={"any": few, "all": few, "none": few}),
        "features": st.fixed_dictionaries({}, optional={"n": st.integers(0, 3) | st.just({"min": 1}), "m": st.booleans()}),
        "published_since": st.integers(START - 4, START + 2),
    },
)
steps = st.lists(st.one_of(records, st.sampled_from(NAMES), st.tuples(st.sampled_from([None, "song"]), filters)), max_size=25)


def by_looking(item: Item, of: dict[str, Any]) -> bool:
    """What the fields say, read as they stand."""
    categories, features = of.get("categories", {}), of.get("features", {})
    return (
        (not of.get("domains") or item.domain in of["domains"])
        and (not of.get("artists") or item.artist_id in of["artists"])
        and (not categories.get("any") or any(c in item.categories for c in categories["any"]))
        and all(c in item.categories for c in categories.get("all", ()))
        and not any(c in item.categories for c in categories.get("none", ()))
        and (item.published_ts or 0) >= of.get("published_since", 0)
        and ("m" not in features or item.features.get("m") is features["m"])
        and ("n" not in features or (item.features.get("n", 0) >= 1 if isinstance(features["n"], dict) else False)
             or ("n" in item.features and item.features["n"] == features["n"]))
    )  # fmt: skip


@given(steps, st.dictionaries(st.sampled_from(NAMES), st.floats(0.1, 9), max_size=9))
def test_the_index_of_a_filter_holds_what_matches_in_both_orders_whatever_comes_and_goes(
    doing: list[Any], popularity: dict[str, float]
) -> None:
    catalog, index, there = Catalog(), CatalogIndex(), dict[str, Item]()
    for name, value in popularity.items():
        index.seed(key("item", name), value, START)
    index.advance(START)
    asked = list[tuple[str | None, dict[str, Any]]]()
    for step in doing:
        match step:
            case Item():
                index.put(catalog.put(step), START)
                there[step.item_id] = step
            case str():
                catalog.delete(step)
                index.delete(key("item", step))
                there.pop(step, None)
                popularity.pop(step, None)
            case domain, fields:
                asked.append((domain, fields))
        for domain, fields in asked:  # those before too, which are kept
            found = index.matching(key("domain", domain) if domain else None, wanted(**fields))
            may = [
                item for item in there.values()
                if not item.hidden and item.published_ts is not None and item.published_ts <= START
                and domain in (None, item.domain) and by_looking(item, fields)
            ]  # fmt: skip
            keys = {key("item", item.item_id): item for item in may}
            assert set(found.items) == keys.keys() == {k for name in NAMES if (k := key("item", name)) in found}
            assert len(found) == len(found.items) == len(keys)
            assert list(found.newest()) == sorted(keys, key=lambda k: (-(keys[k].published_ts or 0), k))
            played = [k for k, item in keys.items() if item.item_id in popularity]
            assert list(found.popular()) == sorted(played, key=lambda k: (-popularity[keys[k].item_id], k))


def test_as_many_filters_are_kept_as_there_is_room_for_and_all_answer_the_same() -> None:
    catalog, index = Catalog(), CatalogIndex()
    for n in range(200):
        index.put(catalog.put(Item(item_id=f"i{n}", features={"n": n})), START)
    index.advance(START)
    for _ in range(2):
        for n in range(100):
            assert len(index.matching(None, wanted(features={"n": {"max": n}}))) == n + 1
    assert len(index._filtered._indexes) == 32
    for n in range(40):
        assert len(index.matching(None, wanted(features={"n": {"min": -n}}))) == 200
    assert len(index._filtered._indexes) == 20  # 4,096 items beside a small catalog
