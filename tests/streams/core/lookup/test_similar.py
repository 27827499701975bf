"""Similar items by hand: after a came b three times and c once, after d came c twice; two others are added to each row's count."""
from __future__ import annotations

import pytest

from online_model.popularity import EXPOSURE, POPULAR, Increment
from streams.core.join.items import Item
from streams.core.lookup.similar import SimilarRequest, similar
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import RecommendSettings
from streams.core.shaping.item_filter import ItemFilter
from tests.streams.core.serving.test_recommend import START, Directions, House, judged, k

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


def test_by_vectors_the_smallest_angle_is_similar_and_by_both_what_is_high_in_either_order() -> None:
    made = house()
    vectors = Directions({"a": (2.0, 0.0, 1.0), "b": (0.0, 1.0, 1.0), "d": (1.0, 1.0, 9.0), "e": (3.0, 0.0, 0.0)}, (0.0, 0.0))
    model = ModelView(predict=judged(lambda _: 0.5), version=3, vectors=vectors)
    found = similar(made.recommender, SimilarRequest(items=("a",), by="vectors", k=3), START, model)
    assert [item.item_id for item in found.items] == ["e", "d", "b"] and found.flags == []
    assert [item.score for item in found.items] == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-6)
    both = similar(made.recommender, SimilarRequest(items=("a",), by="both", k=4), START, model)
    # places by co-listening: b 1, c 2 (gone is not in the catalog, behind c or before it by its key); by vectors: a 1, e 2, d 3, b 4
    assert {item.item_id for item in both.items} == {"b", "c", "d", "e"} and both.items[0].item_id == "b"
    cold = similar(made.recommender, SimilarRequest(items=("a",), by="vectors"), START)
    assert cold.items == [] and cold.flags == ["cold", "short"]
