"""Readers that every worker has for itself, without a group: the whole catalog, and all partitions' popularity."""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from online_model.popularity import Increment, increments, of_item
from streams import messages
from streams.core import followers
from streams.core.catalog import Catalog, Known
from streams.core.items import Item
from streams.core.settings import PartitionSettings
from streams.core.state import Table
from streams.messages import Increments
from streams.stores import PopularityStore
from streams.topics import LARGEST_MESSAGE_BYTES, TopicSettings, names
from streams.watchdog import end

if TYPE_CHECKING:
    from streams.answers import Answers

log = logging.getLogger(__name__)

Handle = Callable[[list[ConsumerRecord]], Awaitable[None]]


class Reader:
    """All partitions of a topic, from given offsets, for ever; `caught_up` is set once the end of that moment was reached."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, handle: Handle, offsets: Mapping[int, int] | None = None) -> None:
        self._bootstrap, self._handle = bootstrap, handle
        self._at = [TopicPartition(topic, p) for p in range(partitions)]
        self._offsets = dict(offsets or {})
        self.caught_up = asyncio.Event()
        self.topic = topic

    async def run(self) -> None:
        """Read, and hand on what came."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=LARGEST_MESSAGE_BYTES,
        )  # fmt: skip
        try:
            await consumer.start()
            try:
                consumer.assign(self._at)
                await self._seek(consumer)
                ends = await consumer.end_offsets(self._at)
                while True:
                    if not self.caught_up.is_set() and all([await consumer.position(at) >= ends[at] for at in self._at]):
                        self.caught_up.set()
                    got = await consumer.getmany(timeout_ms=1000 if self.caught_up.is_set() else 50)
                    for records in got.values():
                        await self._handle(records)
            finally:
                await consumer.stop()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a reader that stops unnoticed would serve old figures
            end(f"reading {self.topic} failed", error)

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        first = await consumer.beginning_offsets(self._at)
        for at in self._at:
            consumer.seek(at, max(self._offsets.get(at.partition, 0), first[at]))


class CatalogReader:
    """Items into the catalog; an empty value takes one out."""

    def __init__(self, topics: TopicSettings, catalog: Catalog) -> None:
        self._catalog = catalog
        self.answers: Answers | None = None  # told of every change
        self.rejected = 0
        self.reader = Reader(topics.bootstrap, names(topics.prefix).catalog, 1, self._take)

    async def _take(self, records: list[ConsumerRecord]) -> None:
        changes: list[tuple[Known | str, int]] = []
        for record in records:
            if not record.value:
                item_id = (record.key or b"").decode("utf-8", "replace")
                self._catalog.delete(item_id)
                changes.append((item_id, record.timestamp))
                continue
            try:
                changes.append((self._catalog.put(_item.decode(record.value)), record.timestamp))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.rejected += 1
                log.warning("%s, offset %d: not an item: %s", record.topic, record.offset, error)
        if self.answers is not None:
            self.answers.take(changes)


class PopularityReader:
    """Every source partition's part, folded in the order of its offsets, with its mark in one atomic write."""

    def __init__(self, topics: TopicSettings, partition: PartitionSettings, store: PopularityStore) -> None:
        self._store = store
        self.answers: Answers | None = None  # told of what is durable
        self._decay = of_item(partition.rate_half_life_h)
        self.parts = {p: Table(bytes, bytes, store.part(p)) for p in range(topics.partitions)}
        self.reader = Reader(topics.bootstrap, names(topics.prefix).popularity, topics.partitions, self._take, store.next_offsets)

    async def _take(self, records: list[ConsumerRecord]) -> None:
        marks: dict[int, int] = {}
        folded: list[Increment] = []
        for record in records:
            folded += self._fold(messages.increments(record.value), marks)
        touched = {source: self.parts[source].writes() for source in marks}
        self._store.write(touched, marks, {records[-1].partition: records[-1].offset + 1})
        for source in marks:
            self.parts[source].settle()
        if self.answers is not None:
            self.answers.hear(folded)

    def _fold(self, part: Increments, marks: dict[int, int]) -> list[Increment]:
        table = self.parts[part.source]
        mark = marks.get(part.source, self._store.marks.get(part.source, -1))
        folded: list[Increment] = []
        for offset, rows in part.rows:
            if offset <= mark:
                continue  # sent twice
            mark = offset
            folded += rows
            for row in rows:
                key = row.item.to_bytes(8, "big")
                table.put(key, self._decay.add(table.get(key), row.ts, increments(row.mask, row.sign)))
                if row.after:
                    key = followers.key(row.after)
                    table.put(key, followers.add(table.get(key), row.item, row.ts))
        marks[part.source] = mark
        return folded


_item = msgspec.json.Decoder(Item)
