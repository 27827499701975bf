"""Who may learn: the learner with the highest epoch. An epoch is one learner's reign, numbered by the offset of its claim."""
from __future__ import annotations

import asyncio
import os
import socket

from aiokafka.structs import ConsumerRecord

from streams.kafka_io import messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Claim, Out
from streams.kafka_io.own_records import OwnRecords
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import end


class EpochClaim:
    """The claim of this learner in `model-updates`, and the watch for a later one."""

    def __init__(self, topics: TopicSettings, delivery: Delivery) -> None:
        self.epoch = -1  # none claimed
        self.own = OwnRecords(topics, "model_updates", messages.update, "learner", delivery)
        self._topics, self._delivery = topics, delivery
        self._watching: asyncio.Task[None] | None = None

    async def claim(self, base: str, version: int) -> None:
        """Begin an epoch, from checkpoint `base` ("": from nothing) at `version`; replicas drop lower epochs from here on."""
        self.stop()  # else it may read this claim before its offset is known here, and take it for another's
        claim = Claim(base, version, f"{socket.gethostname()}:{os.getpid()}")
        self.epoch = await self._delivery.append(Out("model_updates", 0, None, messages.encode(claim)))

    def watch(self) -> None:
        """End this process as soon as another learner claims an epoch."""
        topic = names(self._topics.prefix).model_updates
        self._watching = asyncio.create_task(Reader(self._topics.bootstrap, topic, 1, self._check, {0: self.epoch + 1}).run())

    def stop(self) -> None:
        """Watch no longer."""
        if self._watching is not None:
            self._watching.cancel()

    async def _check(self, records: list[ConsumerRecord]) -> None:
        for record in records:
            update = await self.own.read(record)
            if isinstance(update, Claim) and record.offset > self.epoch:
                end(f"another learner ({update.writer}) claimed epoch {record.offset}, ours is {self.epoch}")
