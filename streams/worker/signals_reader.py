"""What other partitions say about items: their increments of popularity, folded by every worker for itself."""
from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.structs import ConsumerRecord

from online_model.popularity import Increment, increments, of_item
from streams.core.join import co_listening
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import ItemTables, Table
from streams.kafka_io import messages
from streams.kafka_io.messages import Increments
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names
from streams.worker.stores import ITEM_TABLES, PopularityStore

if TYPE_CHECKING:
    from streams.worker.answers import Answers


class PopularityReader:
    """Every source partition's part, folded in the order of its offsets, with its mark in one atomic write."""

    def __init__(self, topics: TopicSettings, partition: PartitionSettings, store: PopularityStore) -> None:
        self._store = store
        self.answers: Answers | None = None  # told of what is durable
        self._decay = of_item(partition.rate_half_life_h)
        self.parts = {p: ItemTables(*(Table(bytes, bytes, store.part(name, p)) for name in ITEM_TABLES)) for p in range(topics.partitions)}
        self.reader = Reader(topics.bootstrap, names(topics.prefix).popularity, topics.partitions, self._take, store.next_offsets)

    async def _take(self, records: list[ConsumerRecord]) -> None:
        marks: dict[int, int] = {}
        folded: list[Increment] = []
        for record in records:
            folded += self._fold(messages.increments(record.value), marks)
        changes = {name: {source: getattr(self.parts[source], name).writes() for source in marks} for name in ITEM_TABLES}
        self._store.write(changes, marks, {records[-1].partition: records[-1].offset + 1})
        for source in marks:
            self.parts[source].popularity.settle()
            self.parts[source].co_listening.settle()
        if self.answers is not None:
            self.answers.hear(folded)

    def _fold(self, part: Increments, marks: dict[int, int]) -> list[Increment]:
        popularity, followers = self.parts[part.source].popularity, self.parts[part.source].co_listening
        mark = marks.get(part.source, self._store.marks.get(part.source, -1))
        folded: list[Increment] = []
        for offset, rows in part.rows:
            if offset <= mark:
                continue  # sent twice
            mark = offset
            folded += rows
            for row in rows:
                key = row.item.to_bytes(8, "big")
                popularity.put(key, self._decay.add(popularity.get(key), row.ts, increments(row.mask, row.sign)))
                if row.after:
                    key = row.after.to_bytes(8, "big")
                    followers.put(key, co_listening.add(followers.get(key), row.item, row.ts))
        marks[part.source] = mark
        return folded
