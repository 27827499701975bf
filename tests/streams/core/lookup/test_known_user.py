"""What is known of a user, in words where the catalog has them."""
from __future__ import annotations

import pytest

from streams.core.join.items import Item
from streams.core.lookup.known_user import known_user
from tests.streams.core.serving.test_recommend import START, House, event, k


def test_a_users_acts_categories_and_domains_are_told_by_name_the_most_liked_first() -> None:
    house = House([
        Item(item_id="a", domain="song", categories=("jazz", "live")), Item(item_id="b", domain="song", categories=("jazz",)),
        Item(item_id="c", domain="video", categories=("talk",)),
    ])  # fmt: skip
    house.take(
        event("play", "a", at=START - 3, full=True), event("collect", "b", at=START - 2), event("skip", "c", at=START - 1),
        event("play", "x", at=START, full=True),
    )  # fmt: skip
    house.catalog.delete("c")
    house.catalog_index.delete(k("c"))
    user = house.user("u")
    assert user is not None
    told = known_user("u", user, house.catalog, house.catalog_index, house.recommender.scorer.view, START)
    assert [(act.item_id, act.action, act.ts - START) for act in told.acts] == [
        (None, "full_play", 0), (None, "skip", -1), ("b", "collect", -2), ("a", "full_play", -3),
    ]  # fmt: skip
    assert (told.last_ms, told.behaviours, told.exposed) == (START, 4, 4)
    assert [told.counts[name] for name in ("exposures", "full_play", "collect", "skip")] == pytest.approx([4, 2, 1, 1], rel=1e-6)
    assert told.categories[0].name == "jazz" and {scope.name for scope in told.categories} == {"jazz", "live", None}  # talk is gone
    assert told.domains[0].name == "song"
    assert [scope.counts["exposures"] for scope in (told.categories[0], told.domains[0])] == pytest.approx([2, 2], rel=1e-6)
