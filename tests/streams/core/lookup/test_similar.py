"""Similar items by hand: after a came b three times and c once, after d came c twice; two others are added to each row's count."""
from __future__ import annotations

import pytest

from online_model.popularity import EXPOSURE, POPULAR, Increment
from streams.core.join.items import Item
from streams.core.lookup.similar import SimilarRequest, similar
from streams.core.serving.recommend import RecommendSettings
from streams.core.shaping.item_filter import ItemFilter
from tests.streams.core.serving.test_recommend import START, House, k

AFTER = [("a", "b"), ("a", "b"), ("a", "b"), ("a", "c"), ("d", "c"), ("d", "c"), ("a", "gone")]


def house() -> House:
    made = House([Item(item_id=name, domain="song", artist_id=name) for name in "abcde"], RecommendSettings(explore_share=0.0))
    for before, item in AFTER:
        made.catalog_index.add(Increment(k(item), START, POPULAR | EXPOSURE, 1, after=k(before)))
    return made


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (SimilarRequest(items=("a",)), {"b": 3 / 7, "c": 1 / 7}),
        (SimilarRequest(items=("d", "a")), {"c": (1 / 7 + 2 / 4) / 2, "b": 3 / 14}),
        (SimilarRequest(items=("a",), k=1), {"b": 3 / 7}),
        (SimilarRequest(items=("a",), exclude_artists=("b",)), {"c": 1 / 7}),
        (SimilarRequest(items=("a",), filter=ItemFilter(artists=("c",)), domain="song"), {"c": 1 / 7}),
        (SimilarRequest(items=("a",), exclude=("b", "c")), {}),
        (SimilarRequest(items=("e",)), {}),
    ],
)
def test_what_came_next_is_similar_by_its_share(request_: SimilarRequest, wanted: dict[str, float]) -> None:
    found = similar(house().recommender, request_, START)
    assert [item.item_id for item in found.items] == list(wanted)
    assert [item.score for item in found.items] == pytest.approx(list(wanted.values()))
    assert ("short" in found.flags) == (len(wanted) < request_.k) and "unknown_items" not in found.flags


def test_items_that_nobody_knows_are_said() -> None:
    assert similar(house().recommender, SimilarRequest(items=("a", "x"), domain="radio"), START).flags == [
        "short", "unknown_domain", "unknown_items",
    ]  # fmt: skip


def test_a_radio_has_what_follows_its_seeds_in_place_of_what_is_popular() -> None:
    made = house()
    made.catalog_index.seed(k("e"), 100.0, START)
    made.recommender.settings = RecommendSettings(popular_candidates=1, fresh_candidates=0, explore_candidates=0, explore_share=0.0)
    slate, _ = made.ask(user_id="u", k=1, seed_items=("d",))
    assert [(item.item_id, item.source) for item in slate.items] == [("c", "co-listened")]
    assert [item.item_id for item in made.ask(user_id="u", k=1)[0].items] == ["e"]
    slate, _ = made.ask(user_id="u", k=5, seed_items=("d", "x"))
    assert sorted(item.item_id for item in slate.items) == ["a", "b", "c", "e"] and "unknown_items" in slate.flags
