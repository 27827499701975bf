"""Records of the catalog topic: items, deletions, and what is no item."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec

from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.kafka_io.topics import TopicSettings
from streams.worker.catalog_reader import CatalogReader


class Serving:
    """Keeps the changes that it gets."""

    def __init__(self) -> None:
        self.changes: list[Any] = []
        self.noted = False

    def update_items(self, changes: list[Any]) -> None:
        self.changes += changes

    def note_catalog(self) -> None:
        self.noted = True


def record(offset: int, value: bytes | None, key: str = "i") -> Any:
    return SimpleNamespace(topic="x.catalog", offset=offset, timestamp=1_000 + offset, key=key.encode(), value=value)


def test_items_are_put_and_deleted_in_order_and_what_is_no_item_is_left_out() -> None:
    catalog, serving = Catalog(), Serving()
    reader = CatalogReader(TopicSettings(), catalog)
    reader.serving = serving  # type: ignore[assignment]
    items = [msgspec.json.encode(Item(item_id=name)) for name in ("a", "b")]
    asyncio.run(reader._apply([record(0, items[0]), record(1, b"{"), record(2, items[1]), record(3, None, "a")]))
    assert (len(catalog), reader.rejected) == (1, 1)
    assert [ms for _, ms in serving.changes] == [1_000, 1_002, 1_003]
    assert serving.changes[2][0] == "a"


def test_a_tombstone_whose_id_is_not_utf8_deletes_nothing() -> None:
    catalog = Catalog()
    reader = CatalogReader(TopicSettings(), catalog)
    odd = record(1, None)
    odd.key = b"\xff"
    asyncio.run(reader._apply([record(0, msgspec.json.encode(Item(item_id="\ufffd"))), odd]))
    assert (len(catalog), reader.rejected) == (1, 1)


def test_a_catalog_was_written_where_its_log_has_an_end_though_nothing_may_be_left() -> None:
    async def main(end: int) -> bool:
        serving = Serving()
        reader = CatalogReader(TopicSettings(), Catalog())
        reader.serving = serving  # type: ignore[assignment]
        waiting = asyncio.create_task(reader.whole())
        await asyncio.sleep(0)
        assert not waiting.done()  # the catalog is not whole yet
        reader.reader.ends = {0: end}
        reader.reader.caught_up.set()
        await waiting
        return serving.noted

    assert not asyncio.run(main(0)) and asyncio.run(main(2))


def test_who_waits_for_a_record_goes_on_once_it_is_applied() -> None:
    async def main() -> None:
        catalog = Catalog()
        reader = CatalogReader(TopicSettings(), catalog)
        waiting = asyncio.create_task(reader.reached(4))
        for offset in (3, 4):
            await asyncio.sleep(0)
            assert not waiting.done()
            await reader._apply([record(offset, msgspec.json.encode(Item(item_id=f"{offset}")))])
        await waiting
        assert len(catalog) == 2
        await reader.reached(2)

    asyncio.run(main())
