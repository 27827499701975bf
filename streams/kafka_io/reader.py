"""Reads all partitions of a topic, without a consumer group, from given offsets, for ever."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from streams.kafka_io.topics import ISOLATION, LARGEST_MESSAGE_BYTES
from streams.watchdog import end

Handle = Callable[[list[ConsumerRecord]], Awaitable[None]]


class Reader:
    """All partitions of a topic, from given offsets, for ever; `caught_up` is set once the end of that moment was reached."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, handle: Handle, offsets: Mapping[int, int] | None = None) -> None:
        self._bootstrap, self._handle = bootstrap, handle
        self._at = [TopicPartition(topic, p) for p in range(partitions)]
        self._offsets = dict(offsets or {})
        self.caught_up = asyncio.Event()
        self.ends: dict[int, int] = {}  # of the partitions, when reading began
        self.topic = topic

    async def run(self) -> None:
        """Read, and pass what came to the handler, one partition at a time. An error ends the process."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level=ISOLATION, max_partition_fetch_bytes=LARGEST_MESSAGE_BYTES,
        )  # fmt: skip
        try:
            await consumer.start()
            try:
                consumer.assign(self._at)
                await self._seek(consumer)
                self.ends = {at.partition: end for at, end in (await consumer.end_offsets(self._at)).items()}
                while True:
                    if not self.caught_up.is_set() and all([await consumer.position(at) >= self.ends[at.partition] for at in self._at]):
                        self.caught_up.set()
                    polled = await consumer.getmany(timeout_ms=1000 if self.caught_up.is_set() else 50)
                    for records in polled.values():
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
