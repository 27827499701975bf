"""Faust's consumer, reading from where the store stands, whatever happens between an assignment and its end.

Faust enters `perform_seek` again while an earlier call still opens stores, cuts one off when another rebalance comes, and reads
on without its end where a paused broker makes it take long. So one task finds the places, which only a revocation cancels, and
a partition gives no record before its place is found.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from streams.kafka_io import drain
from streams.kafka_io.committed import CommittedThread
from streams.kafka_io.drain import DrainedConsumer
from streams.kafka_io.gaps import RETRY_S, EmptyOffsets

NOTHING_S = 0.05  # between two looks for a partition that may be read

log = logging.getLogger(__name__)

Positions = Callable[[Iterable[TP], Mapping[TP, int | None]], Awaitable[Mapping[TP, int]]]

_differs = drain.unknown()
_base: Any = Consumer if _differs else DrainedConsumer


class StoredConsumer(_base):  # type: ignore[misc]
    """Reads from where the store stands, not from where the group has committed; committed transactions only."""

    empty: EmptyOffsets  # gets what holds no record

    @staticmethod
    async def positions(assigned: Iterable[TP], committed: Mapping[TP, int | None]) -> Mapping[TP, int]:
        """Where to read each of these partitions from, given what the group has committed."""
        raise NotImplementedError

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._placed: set[TP] = set()
        self._placing: asyncio.Task[None] | None = None
        self._revoked = False  # between a revocation and the assignment that follows

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Nothing is read, and no place is looked for, until the next assignment."""
        self._revoked = True
        await self._give_up()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Nothing is read until Faust resumes the flow for this assignment: it forgets what came before."""
        self._revoked = False
        self.stop_flow()
        await super().on_partitions_assigned(assigned, generation_id)

    def resume_flow(self) -> None:
        """As Faust's, but not for an assignment that has been revoked meanwhile."""
        if not self._revoked:
            super().resume_flow()

    async def on_stop(self) -> None:
        """Look for places no longer."""
        await self._give_up()
        await super().on_stop()

    async def _give_up(self) -> None:
        self._placed.clear()
        if self._placing is not None:
            self._placing.cancel()
            await asyncio.wait({self._placing})

    async def perform_seek(self) -> None:
        """Wait until the place of each partition is found, and sought."""
        if self._revoked:
            return  # Faust's fetcher, which found records of what was given up
        if self._placing is None or self._placing.done():
            self._placing = asyncio.create_task(self._place())
        await asyncio.wait({self._placing})

    async def _place(self) -> None:
        """Find the place of each partition and seek it; again, where the assignment ends meanwhile and is not revoked yet."""
        while True:
            try:
                await super().perform_seek()
                assigned = self.assignment()
                committed = {tp: self._committed_offset[tp] for tp in assigned}
                begin = await self.positions(assigned, committed)
                self.empty.begin(begin.items())
                for tp, offset in begin.items():
                    await self.seek(tp, offset)
                    self._committed_offset[tp] = offset  # else the first acknowledgement would look like a gap
                    self._placed.add(tp)
                return
            except (KafkaError, AssertionError) as error:
                log.warning("finding where to read on: %r; again", error)
                await asyncio.sleep(RETRY_S)

    def _new_consumer_thread(self) -> CommittedThread:
        thread = CommittedThread(self, loop=self.loop, beacon=self.beacon)
        thread.empty = self.empty
        return thread

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Keep no gaps: Faust sorts all it has for each new one, 10 ms where there are a thousand."""

    def _new_offset(self, tp: TP) -> int | None:
        """What to commit: behind the newest acknowledged record. Ours are acknowledged in order, so none before it is open."""
        acknowledged = self._acked[tp]
        newest = max(acknowledged, default=-1)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return newest + 1 if newest >= 0 else None

    async def _seek(self, partition: TP, offset: int) -> None:
        """In the consumer's own thread: from here it would take records from under its hands."""
        await self._thread.call_thread(self._thread.seek, partition, offset)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:
        placed = self._placed & (active_partitions or set())
        if not placed:
            await self.sleep(NOTHING_S)
            return {}
        return await super()._getmany(placed, timeout)

    def highwater(self, tp: TP) -> int | None:
        """None where no fetch has told it, or the partition is not assigned any more."""
        try:
            return super().highwater(tp)
        except (AssertionError, AttributeError):  # an assignment that ends meanwhile, in the consumer's thread
            return None


def consumer(positions: Positions, empty: EmptyOffsets) -> type[StoredConsumer]:
    """A class of consumers that begin where `positions` says, and tell `empty` of offsets without a record."""
    if _differs:
        log.warning("Faust runs at half of its speed: its drain is not changed, since %s", "; ".join(_differs))
    return type("PlacedConsumer", (StoredConsumer,), {"positions": staticmethod(positions), "empty": empty})
