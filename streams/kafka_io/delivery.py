"""Sends the rows of an outbox, and knows when the broker has them."""
from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from streams.kafka_io.messages import Out
from streams.kafka_io.topics import LARGEST_MESSAGE_BYTES, TopicSettings, names, partitioner


class Delivery:
    """An idempotent producer for the rows of outboxes. It retries until the broker answers, and keeps their order.

    A record can't overtake one that fails: the broker refuses what comes after a missing sequence number. So a reader
    that drops records at or below its sequence mark loses nothing, and many records can be on their way at once.
    """

    def __init__(self, settings: TopicSettings) -> None:
        self._settings = settings
        self.topics = names(settings.prefix)
        self._partition = partitioner(settings.events_partitioner)
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect to the broker."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap,
            enable_idempotence=True,
            max_request_size=LARGEST_MESSAGE_BYTES,
            max_batch_size=1 << 20,
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Wait for what is on its way, and disconnect."""
        if self._producer is not None:
            await self._producer.stop()
            self._producer = None

    async def start_sending(self, rows: Iterable[Out]) -> list[asyncio.Future[RecordMetadata]]:
        """Hand records to the producer in order; each future is done when the broker has its record."""
        return [await self._send(row) for row in rows]

    async def send(self, rows: Iterable[Out]) -> list[int]:
        """Send records; return their offsets when the broker has all."""
        return [sent.offset for sent in await asyncio.gather(*await self.start_sending(rows))]

    async def append(self, row: Out, headers: Sequence[tuple[str, bytes]] = ()) -> int:
        """Send one record; return its offset."""
        return (await (await self._send(row, headers))).offset

    def partition(self, key: bytes) -> int:
        """The partition of a user's events. `key`: the user id."""
        return self._partition(key, self._settings.partitions)

    async def _send(self, row: Out, headers: Sequence[tuple[str, bytes]] = ()) -> asyncio.Future[RecordMetadata]:
        if self._producer is None:
            raise ValueError("the producer is not started")
        partition = row.partition
        if partition < 0:
            partition = self.partition(row.key) if row.key is not None and row.topic in ("events", "exposures") else 0
        value = row.value or None  # a tombstone: compaction forgets nothing less
        return await self._producer.send(getattr(self.topics, row.topic), value, key=row.key, partition=partition, headers=list(headers))
