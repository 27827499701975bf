"""The catalog: items by key, with all that features and eligibility need. Strings of items stay here; the rest carries keys."""
from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from online_model.item_embedding import packed
from streams.core.join import keys
from streams.core.join.items import Item


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """An item with its keys resolved once."""

    item: Item
    key: int
    artist: int  # 0 = unknown, as all keys here
    category: int  # of the first category: the model has a row of it
    categories: tuple[int, ...]  # all, each once: modules, preferences, rates and related behaviours are of them
    domain: int
    features: bytes  # packed keys, see keys.bag
    variant_of: int = 0
    embedding: bytes = b""  # float32 [EMBEDDING], or nothing; the item's own is not kept beside it


class Catalog(dict[int, CatalogItem]):
    """Items by key. One for all partitions of a process; `put` and `delete` come from the catalog topic or a file.

    A dict with two verbs more: it is looked into for every event and candidate.
    """

    def put(self, item: Item) -> CatalogItem:
        """Take an item in, new or changed."""
        categories = tuple(dict.fromkeys([keys.key("category", c) for c in item.categories]))
        entry = CatalogItem(
            item=item if not item.embedding else replace(item, embedding=()),
            key=keys.key("item", item.item_id),
            artist=keys.optional("artist", item.artist_id),
            category=categories[0] if categories else 0,
            categories=categories,
            domain=keys.optional("domain", item.domain),
            features=keys.bag("item", list(item.features.items())),
            variant_of=keys.optional("item", item.variant_of if item.variant_of != item.item_id else None),
            embedding=packed(item.embedding),
        )
        self[entry.key] = entry
        return entry

    def delete(self, item_id: str) -> bool:
        """Forget an item (a tombstone); False where it was unknown."""
        return self.pop(keys.key("item", item_id), None) is not None
