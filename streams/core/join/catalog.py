"""What is known of items, by key: what an example needs, and what serving needs to say yes or no.

The strings of items stay here; everything behind carries keys.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streams.core.join import keys
from streams.core.join.items import Item


@dataclass(frozen=True, slots=True)
class Known:
    """An item with its keys made once."""

    item: Item
    key: int
    artist: int  # 0 = unknown, as all keys here
    category: int  # of the first category
    categories: tuple[int, ...]
    domain: int
    features: bytes  # packed keys, see keys.bag


class Catalog:
    """Items by key. One for all partitions of a process; `put` and `delete` come from the catalog topic or a file."""

    def __init__(self) -> None:
        self._items: dict[int, Known] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Known]:
        return iter(self._items.values())

    def get(self, item: int) -> Known | None:
        return self._items.get(item)

    def put(self, item: Item) -> Known:
        known = Known(
            item=item,
            key=keys.key("item", item.item_id),
            artist=keys.key("artist", item.artist_id) if item.artist_id else 0,
            category=keys.key("category", item.categories[0]) if item.categories else 0,
            categories=tuple(keys.key("category", c) for c in item.categories),
            domain=keys.key("domain", item.domain) if item.domain else 0,
            features=keys.bag("item", list(item.features.items())),
        )
        return self.hold(known)

    def hold(self, known: Known) -> Known:
        """Put what another catalog of this process has made of an item."""
        self._items[known.key] = known
        return known

    def delete(self, item_id: str) -> bool:
        """Forget an item (a tombstone); False where it was unknown."""
        return self._items.pop(keys.key("item", item_id), None) is not None
