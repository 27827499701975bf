"""A look into a log without a consumer group: where a partition begins and ends, and whether a range of offsets holds a record."""
from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.kafka_io.topics import ISOLATION, LARGEST_MESSAGE_BYTES

RETRY_S = 0.5
ASK_S = 1.0  # between two looks where a log ends
KNOWN_S = 3.0  # an end that the broker has not told since is unknown

Place = tuple[str, int]  # topic and partition, as every Kafka client's own pair of them
T = TypeVar("T")

log = logging.getLogger(__name__)


class EmptyOffsets:
    """Offsets that hold no record, as a consumer passed them; asked from another thread.

    What is said of a range holds for its part that was not read before: a consumer that goes back reads all of it again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[Place, int] = {}  # behind the last record that came
        self._positions: dict[Place, int] = {}  # where the consumer is, which passes what holds no record
        self._ranges: dict[Place, deque[tuple[int, int]]] = {}  # between records that came, [first, end)

    def begin(self, offsets: Iterable[tuple[Place, int]]) -> None:
        """A consumer begins at these offsets, where it has not read before."""
        with self._lock:
            for at, offset in offsets:
                self._due.setdefault(at, offset)

    def passed(self, at: Place, records: Iterable[int], position: int) -> None:
        """A consumer, reading on, got the records at these offsets, and is at `position`."""
        with self._lock:
            ranges, due = self._ranges.setdefault(at, deque()), self._due.get(at)
            for offset in records:
                if due is not None and offset < due:
                    ranges.clear()  # it went back
                elif due is not None and offset > due:
                    ranges.append((due, offset))
                due = self._due[at] = offset + 1
            self._positions[at] = position

    def covers(self, at: Place, first: int, end: int) -> bool:
        """Whether [first, end) is known to hold no record. What is before is forgotten."""
        with self._lock:
            ranges = self._ranges.get(at) or deque()
            while ranges and ranges[0][1] <= first:
                ranges.popleft()
            return bool(ranges) and ranges[0][0] <= first and end <= ranges[0][1]

    def end(self, at: Place, end: int) -> int:
        """Behind the last record, where the log ends at `end` and a consumer has read all of it; else `end`."""
        with self._lock:
            due = self._due.get(at)
            return end if due is None or self._positions.get(at, -1) < end else min(due, end)


class LogReader:
    """One consumer without a group, moved to where something is to be read. `empty`: what need not be read for that."""

    def __init__(self, bootstrap: str) -> None:
        self.empty = EmptyOffsets()
        self._bootstrap = bootstrap
        self._consumer: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def start(self) -> None:
        """Connect to the broker."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap, group_id=None, enable_auto_commit=False, auto_offset_reset="earliest",
            isolation_level=ISOLATION, max_partition_fetch_bytes=LARGEST_MESSAGE_BYTES,
        )  # fmt: skip
        await self._consumer.start()

    async def stop(self) -> None:
        """Disconnect; without effect before `start`."""
        if self._consumer is not None:
            await self._consumer.stop()
            self._consumer = None

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is there, and the one that comes next; however long the broker takes to say it."""
        at = TopicPartition(topic, partition)
        consumer = self._started()

        async def ask() -> tuple[int, int]:
            first, after = await asyncio.gather(consumer.beginning_offsets([at]), consumer.end_offsets([at]))
            return first[at], after[at]

        return await patiently(f"the bounds of {topic}-{partition}", ask)

    async def end(self, topic: str, partition: int) -> int:
        """The offset that comes next. Raises KafkaError where the broker does not say it."""
        at = TopicPartition(topic, partition)
        return int((await self._started().end_offsets([at]))[at])

    async def first_record(self, topic: str, partition: int, first: int, end: int) -> int | None:
        """The first offset in [first, end) that holds a record; None where none does."""
        at = TopicPartition(topic, partition)
        if self.empty.covers(at, first, end):
            return None
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


class LogEnds:
    """Where partitions end now, asked again and again beside their reading: so lag is known before the first record comes, and is
    known to be unknown. `places`: which partitions, asked each time; others' ends are forgotten."""

    def __init__(self, log: LogReader, places: Callable[[], Iterable[Place]]) -> None:
        self._log, self._places = log, places
        self._asked: dict[Place, float] = {}  # and since when
        self._ends: dict[Place, tuple[int, float]] = {}

    def end(self, place: Place) -> int | None:
        """The offset that comes next; None where the broker has not told it lately."""
        end, at = self._ends.get(place, (0, -KNOWN_S))
        return end if time.monotonic() - at < KNOWN_S else None

    def just_opened(self, place: Place) -> bool:
        """Whether the end that was read when it was opened is still the newest: the broker is asked for no other yet, or only just."""
        return place not in self._ends and time.monotonic() - self._asked.get(place, time.monotonic()) < KNOWN_S

    @property
    def silent(self) -> bool:
        """Whether ends are asked for and none is known: the broker does not answer."""
        return bool(self._asked) and all(self.end(place) is None for place in self._asked)

    def lag(self, place: Place, applied: int, heard: int | None) -> int | None:
        """Records behind `applied`, None: unknown. `heard`: the end as the last fetch told it, which may be newer, or long ago."""
        end = self.end(place)
        return None if end is None else max(max(self._log.empty.end(place, end), heard or 0) - applied - 1, 0)

    async def run(self) -> None:
        """Ask, for ever; each partition by itself, so that one without a leader leaves the others' known."""
        while True:
            now = time.monotonic()
            self._asked = {place: self._asked.get(place, now) for place in self._places()}
            self._ends = {place: self._ends[place] for place in self._asked if place in self._ends}
            await asyncio.gather(*(self._ask(place) for place in self._asked))
            await asyncio.sleep(ASK_S)

    async def _ask(self, place: Place) -> None:
        try:
            async with asyncio.timeout(KNOWN_S):
                self._ends[place] = await self._log.end(*place), time.monotonic()
        except (KafkaError, TimeoutError):
            pass  # `end` says that it is unknown


async def patiently(what: str, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask until the broker answers. Raises what it answers where that is not for now only."""
    while True:
        try:
            return await ask()
        except KafkaError as error:
            if not (error.retriable or isinstance(error, KafkaTimeoutError)):
                raise
            log.warning("%s: %s; asking again", what, error)
        await asyncio.sleep(RETRY_S)
