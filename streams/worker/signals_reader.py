"""Popularity of items as the events of every partition add to it: increments, folded by each worker for itself."""
from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.structs import ConsumerRecord

from online_model.popularity import Increment, increments, of_item
from streams.core.join import co_listening
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import ItemTables, Table
from streams.kafka_io import messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Increments
from streams.kafka_io.own_records import OwnRecords
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names
from streams.worker.stores import ITEM_TABLES, PopularityStore

if TYPE_CHECKING:
    from streams.worker.answers import ServingThread


class PopularityReader:
    """Every source partition's part, folded in the order of its offsets, written together with its sequence mark."""

    def __init__(
        self, topics: TopicSettings, partition: PartitionSettings, store: PopularityStore, delivery: Delivery | None = None
    ) -> None:  # fmt: skip
        self._store = store
        self.own = OwnRecords(topics, "popularity", messages.increments, "worker", delivery)
        self.serving: ServingThread | None = None  # gets what is durable
        self._decay = of_item(partition.rate_half_life_h)
        self.parts = {p: ItemTables(*(Table(bytes, bytes, store.part(name, p)) for name in ITEM_TABLES)) for p in range(topics.partitions)}
        self.reader = Reader(topics.bootstrap, names(topics.prefix).popularity, topics.partitions, self._apply, store.next_offsets)

    async def _apply(self, records: list[ConsumerRecord]) -> None:
        newest: dict[int, int] = {}
        folded: list[Increment] = []
        for record in records:
            part = await self.own.read(record)
            if part is not None and part.source != record.partition:
                await self.own.skip(record, f"increments of partition {part.source}, which are not written here")
            elif part is not None:
                folded += self._fold(part, newest)
        changes = {name: {source: getattr(self.parts[source], name).writes() for source in newest} for name in ITEM_TABLES}
        self._store.write(changes, newest, {records[-1].partition: records[-1].offset + 1})
        for source in newest:
            self.parts[source].popularity.settle()
            self.parts[source].co_listening.settle()
        if self.serving is not None:
            self.serving.add_popularity(folded)

    def _fold(self, part: Increments, newest: dict[int, int]) -> list[Increment]:
        popularity, near = self.parts[part.source].popularity, self.parts[part.source].co_listening
        last = newest.get(part.source, self._store.newest_folded.get(part.source, -1))
        folded: list[Increment] = []
        for offset, rows in part.rows:
            if offset <= last:
                continue  # repeated
            last = offset
            folded += rows
            for row in rows:
                key = row.item.to_bytes(8, "big")
                popularity.put(key, self._decay.add(popularity.get(key), row.ts, increments(row.mask, row.sign, row.weight)))
                if row.sign > 0:
                    co_listening.follow(near, row.before, row.item, row.ts, row.weight)
        newest[part.source] = last
        return folded
