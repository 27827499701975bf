"""Time as records of the log: a worker writes ticks into its quiet partitions, and reads them as any record."""
from __future__ import annotations

import asyncio
import time

import msgspec

from streams.core.join.events import Tick
from streams.core.join.records import KIND
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Out
from streams.watchdog import end
from streams.worker.ingest import Ingest
from streams.worker.owned import OwnedPartition
from streams.worker.settings import TickSettings

POLL_S = 0.05  # between two looks; nobody notices a twentieth of a second more


class Ticks:
    """Writes ticks. Event time of one = the partition's watermark + the quiet milliseconds. None inside of a log, none without need."""

    def __init__(self, settings: TickSettings, ingest: Ingest, delivery: Delivery) -> None:
        self._settings, self._ingest, self._delivery = settings, ingest, delivery
        self.written = 0

    async def run(self) -> None:
        """Look at every owned partition, for ever."""
        try:
            while True:
                await asyncio.sleep(POLL_S)
                for owned in list(self._ingest.owned.values()):
                    quiet_ms = int((time.monotonic() - owned.last_record_at) * 1000)
                    if quiet_ms >= self._settings.first_ms and self._due(owned, quiet_ms):
                        await self._write(owned, quiet_ms)
        except Exception as error:  # noqa: BLE001 - without ticks feedback would wait for the next one, unnoticed
            end("writing ticks failed", error)

    def _due(self, owned: OwnedPartition, quiet_ms: int) -> bool:
        progress = owned.core.progress
        if progress.in_log or progress.watermark_ms < 0 or owned.buffer or owned.lock.locked():
            return False
        if not owned.tick_due and (progress.open_lists == 0 or quiet_ms < self._settings.every_ms):
            return False
        newest = self._ingest.consumer.highwater(owned.tp)
        return newest is not None and owned.store.stored + 1 >= newest  # else what is quiet is only the reading

    async def _write(self, owned: OwnedPartition, quiet_ms: int) -> None:
        tick = msgspec.json.encode(Tick(ts=owned.core.progress.watermark_ms + quiet_ms))
        await self._delivery.append(Out("events", owned.number, None, tick), [(KIND, b"tick")])
        owned.last_record_at = time.monotonic()  # the next one counts from here, also while this one is on its way
        self.written += 1
