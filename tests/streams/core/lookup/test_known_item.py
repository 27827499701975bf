"""What is known of an item, and why it may not be shown."""
from __future__ import annotations

import pytest

from streams.core.join.items import Item
from streams.core.lookup.known_item import KnownItem, known_item
from tests.streams.core.serving.test_recommend import START, House, event, k


def told(house: House, item_id: str) -> KnownItem | None:
    return known_item(item_id, house.catalog, house.catalog_index, house.partition.item_counts, START)


@pytest.mark.parametrize(
    ("fields", "why_not"),
    [
        ({}, []),
        ({"hidden": True}, ["hidden"]),
        ({"published_ts": START + 1}, ["not_yet_published"]),
        ({"expires_ts": START, "hidden": True}, ["hidden", "expired"]),
    ],
)
def test_every_reason_is_told_why_an_item_may_not_be_shown(fields: dict[str, object], why_not: list[str]) -> None:
    item = Item(item_id="a", **fields)  # type: ignore[arg-type]
    found = told(House([item]), "a")
    assert found is not None and (found.item, found.servable, found.why_not) == (item, not why_not, why_not)
    assert set(found.popularity.values()) == set(found.counts.values()) == {0.0}


def test_events_count_and_an_item_outside_of_the_catalog_is_known_by_them_alone() -> None:
    house = House([Item(item_id="a")])
    house.take(event("play", "a", full=True), event("play", "b", user="v"))
    a, b = told(house, "a"), told(house, "b")
    assert (
        a is not None and a.popularity == {"1": 1.0, "24": 1.0, "168": 1.0} and (a.counts["exposures"], a.counts["full_play"]) == (1.0, 1.0)
    )
    assert b is not None and (b.item, b.servable, b.why_not) == (None, False, ["not_in_catalog"])
    assert told(house, "c") is None
    house.catalog.delete("a")
    house.catalog_index.delete(k("a"))
    gone = told(house, "a")
    assert gone is not None and gone.why_not == ["not_in_catalog"]
