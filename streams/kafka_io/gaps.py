"""A look into a log without a consumer group: where a partition begins and ends, and whether a range of offsets holds a record."""
from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka_io.topics import LARGEST_MESSAGE_BYTES


class LogReader:
    """One consumer without a group, moved to where something is to be read."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect to the broker."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            max_partition_fetch_bytes=LARGEST_MESSAGE_BYTES,
        )  # fmt: skip
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect; without effect before `start`."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is there, and the one that comes next."""
        at = TopicPartition(topic, partition)
        consumer = self._started()
        first, after = await asyncio.gather(consumer.beginning_offsets([at]), consumer.end_offsets([at]))
        return first[at], after[at]

    async def first_record(self, topic: str, partition: int, first: int, end: int) -> int | None:
        """The first offset in [first, end) that holds a record; None where none does."""
        at = TopicPartition(topic, partition)
        consumer = self._started()
        async with self._lock:
            consumer.assign([at])
            consumer.seek(at, first)
            while True:
                for records in (await consumer.getmany(at, timeout_ms=200)).values():
                    return records[0].offset if records[0].offset < end else None
                if await consumer.position(at) >= end:
                    return None

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise ValueError("the log reader is not started")
        return self._consumer
