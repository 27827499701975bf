"""What the catalog knows of an item, by key; and that it forgets."""
from __future__ import annotations

import numpy as np
import pytest

from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.items import Item


def test_an_item_is_known_by_its_keys_and_the_newest_is_the_one() -> None:
    catalog = Catalog()
    item = Item(item_id="i", artist_id="a", categories=("jazz", "live"), domain="song", features={"bpm": 90, "key": "C"})
    catalog.put(Item(item_id="i", artist_id="before"))
    known = catalog.put(item)
    assert catalog.get(keys.key("item", "i")) is known
    assert (known.item, known.key, known.artist) == (item, keys.key("item", "i"), keys.key("artist", "a"))
    categories = (keys.key("category", "jazz"), keys.key("category", "live"))
    assert (known.category, known.categories) == (categories[0], categories)
    assert (known.domain, known.features) == (keys.key("domain", "song"), keys.bag("item", [("bpm", 90), ("key", "C")]))
    assert (len(catalog), list(catalog.values())) == (1, [known])


def test_what_an_item_does_not_say_is_key_0() -> None:
    known = Catalog().put(Item(item_id="i"))
    assert (known.artist, known.category, known.categories, known.domain, known.features) == (0, 0, (), 0, b"")


def test_a_deleted_item_is_unknown_and_an_unknown_one_can_be_deleted() -> None:
    catalog = Catalog()
    catalog.put(Item(item_id="i"))
    assert [catalog.delete("i"), catalog.delete("i"), catalog.delete("never")] == [True, False, False]
    assert catalog.get(keys.key("item", "i")) is None
    assert len(catalog) == 0


def test_a_category_named_twice_is_one() -> None:
    known = Catalog().put(Item(item_id="i", categories=("b", "a", "b")))
    assert known.categories == (keys.key("category", "b"), keys.key("category", "a")) and known.category == known.categories[0]


def test_an_embedding_is_kept_in_one_size_and_not_as_it_came() -> None:
    known = Catalog().put(Item(item_id="i", embedding=(3.0, 0.0, 4.0)))
    assert np.frombuffer(known.embedding, "<f4")[:4] == pytest.approx([0.6, 0.0, 0.8, 0.0])
    assert known.item == Item(item_id="i") and Catalog().put(Item(item_id="j")).embedding == b""
