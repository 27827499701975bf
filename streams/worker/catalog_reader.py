"""The catalog topic into the catalog of this process: every worker reads it whole."""
from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec
from aiokafka.structs import ConsumerRecord

from streams.core.join.catalog import Catalog, CatalogItem
from streams.core.join.items import Item
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names

if TYPE_CHECKING:
    from streams.worker.answers import ServingThread

log = logging.getLogger(__name__)
_item = msgspec.json.Decoder(Item)


class CatalogReader:
    """Items into the catalog; an empty value deletes one. A record that is no item is logged, counted and left out."""

    def __init__(self, topics: TopicSettings, catalog: Catalog) -> None:
        self._catalog = catalog
        self.serving: ServingThread | None = None  # gets every change
        self.rejected = 0
        self._read = -1  # offset of the newest record that was applied
        self._moved = asyncio.Condition()
        self.reader = Reader(topics.bootstrap, names(topics.prefix).catalog, 1, self._apply)

    async def whole(self) -> None:
        """Wait until the catalog is whole. Where any record was ever written, there is one, though compaction may have left none."""
        await self.reader.caught_up.wait()
        if self.serving is not None and any(self.reader.ends.values()):
            self.serving.note_catalog()

    async def reached(self, offset: int) -> None:
        """Wait until a record has been applied: requests that come after it see it."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._read >= offset)

    async def _apply(self, records: list[ConsumerRecord]) -> None:
        changes: list[tuple[CatalogItem | str, int]] = []
        for record in records:
            try:
                if not record.value:
                    item_id = (record.key or b"").decode()
                    self._catalog.delete(item_id)
                    changes.append((item_id, record.timestamp))
                    continue
                changes.append((self._catalog.put(_item.decode(record.value)), record.timestamp))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.rejected += 1
                log.warning("%s, offset %d: not an item: %s", record.topic, record.offset, error)
        if self.serving is not None:
            self.serving.update_items(changes)
        async with self._moved:
            self._read = records[-1].offset
            self._moved.notify_all()
