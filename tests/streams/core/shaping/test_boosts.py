"""What is added to scores, by hand."""
from __future__ import annotations

import msgspec
import pytest

from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.core.join.keys import key
from streams.core.shaping.boosts import Boosts


def test_an_item_gets_its_own_its_artists_and_its_categories_boosts_together() -> None:
    catalog = Catalog()
    items = [Item(item_id="a", artist_id="x", categories=("jazz", "live")), Item(item_id="b", artist_id="x"), Item(item_id="c")]
    keys = [catalog.put(item).key for item in items]
    boosts = Boosts(items={"a": 1.0, "new": 4.0}, artists={"x": 0.25}, categories={"jazz": 0.5, "live": -2.0})
    assert boosts.added([*keys, key("item", "new")], catalog) == {keys[0]: -0.25, keys[1]: 0.25, key("item", "new"): 4.0}
    with pytest.raises(msgspec.ValidationError, match="genres"):
        msgspec.convert({"genres": {"jazz": 1}}, Boosts)
