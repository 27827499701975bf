"""What a request adds to the scores of items, of artists' items and of categories' items.

Added, not multiplied: a score is a weighted sum of probabilities in which skips and dislikes count against an item, so it may be below 0,
where a factor would turn a boost into its opposite; and what is added is in the unit of the weights: 0.5 is a certain full play.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Id, ShortId
from streams.core.json_fields import about

MAX_BOOSTS = 1_000  # of one kind: as many as a request may exclude items
BOOST = 1e6  # beyond it a sum loses the digits of its small terms

Boost = Annotated[float, Meta(ge=-BOOST, le=BOOST)]


class Boosts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is added to the scores of candidates: of an item its own, its artist's and its categories' together; below 0, taken away."""

    items: Annotated[Annotated[dict[Id, Boost], Meta(max_length=MAX_BOOSTS)], about("by item")] = {}
    artists: Annotated[Annotated[dict[Id, Boost], Meta(max_length=MAX_BOOSTS)], about("by artist")] = {}
    categories: Annotated[Annotated[dict[ShortId, Boost], Meta(max_length=MAX_BOOSTS)], about("by category")] = {}

    def added(self, items: list[int], catalog: Catalog) -> dict[int, float]:
        """By item, of those that get any."""
        own, by_artist, by_category = (
            {keys.key(field, name): boost for name, boost in boosts.items()}
            for field, boosts in (("item", self.items), ("artist", self.artists), ("category", self.categories))
        )
        return {key: boost for key in items if (boost := _of(key, catalog, own, by_artist, by_category))}


def _of(key: int, catalog: Catalog, own: Mapping[int, float], by_artist: Mapping[int, float], by_category: Mapping[int, float]) -> float:
    boost, known = own.get(key, 0.0), catalog.get(key)
    if known is not None:
        boost += by_artist.get(known.artist, 0.0) + sum([by_category.get(category, 0.0) for category in known.categories])
    return boost
