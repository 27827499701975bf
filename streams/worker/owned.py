"""A partition of `events` that this worker owns: how its state is opened, and what ingest holds of it meanwhile."""
from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from faust.types import TP, EventT

from online_model.decay import DAY_MS
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import ItemTables, Tables
from streams.kafka_io.offset_guard import OffsetGuard
from streams.kafka_io.topics import TopicSettings, names
from streams.worker.stores import PartitionStore, StoreSettings, StoreUnfit, partition_path
from streams.worker.unapplied import UnappliedRecords

RECORD_OVERHEAD_BYTES = 1_000  # of a buffered Faust event beside its value
AGAIN = 10  # a lag that is so many times the stated one is more than a flush under way
FIXED = ("topic", "partition", "partitions", "events_partitioner")  # rows are meaningless under others

log = logging.getLogger(__name__)


@dataclass(slots=True)
class OwnedPartition:
    """A partition that this worker owns: its state on disk and in memory, its buffer, and flushes under way."""

    number: int
    tp: TP
    store: PartitionStore
    core: Partition
    guard: OffsetGuard
    log_end: int = 0  # behind the newest record of the log, as far as it was heard of
    catching_up: bool = True  # the state lacks much of the log
    buffer: deque[EventT[Any]] = field(default_factory=deque)
    buffered_bytes: int = 0
    paused: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by a flush
    flush_began_at: float = 0.0
    flushing: asyncio.Task[None] | None = None  # flushes what is buffered; ends when nothing is
    sending: deque[asyncio.Task[None]] = field(default_factory=deque)  # steps 2 to 4 of flushes, each behind the one before
    settled_at: float = field(default_factory=time.monotonic)  # when the newest of them ended, or the oldest of `sending` began
    last_record_at: float = field(default_factory=time.monotonic)
    unapplied: UnappliedRecords = field(default_factory=UnappliedRecords)  # served or taken over HTTP here, and not yet in `core`
    jump_said: bool = False  # the log of this process says that event time has jumped
    tick_due: bool = False  # examples went out since the last tick: the learner's micro-batch may be open

    def lag(self, highwater: int | None) -> int:
        """Records that are in the log and not in the state. `highwater`: what the consumer has heard; None before its first fetch."""
        self.log_end = max(self.log_end, highwater or 0)
        return max(self.log_end - self.store.stored - 1, 0)

    def look(self, lag: int, caught_up_lag: int) -> bool:
        """Whether the state is far behind: since it was opened, until it is within `caught_up_lag`; again beyond ten times as much."""
        self.catching_up = lag > (caught_up_lag if self.catching_up else AGAIN * caught_up_lag)
        return self.catching_up

    @property
    def counted(self) -> Counter[str]:
        """records, misplaced_records, and what the offset guard counts."""
        return self.guard.counted

    def warn_of_a_jump(self, before_ms: int) -> None:
        """Once: event time has jumped by more than a day. `before_ms`: `Progress.jumped_to_ms` as it was."""
        progress = self.core.progress
        if self.jump_said or progress.jumped_to_ms == before_ms:
            return
        self.jump_said = True
        begin, end = (str(np.datetime64(ms, "ms"))[:16] for ms in (progress.jumped_from_ms, progress.jumped_to_ms))
        log.warning(
            "partition %d: event time has jumped from %s to %s, by %.0f days: what was learned before may have expired (model.expire_d),"
            " and lists are flagged stale_rows for a day; a log that ends now, or steady traffic, keeps them apart",
            self.number, begin, end, (progress.jumped_to_ms - progress.jumped_from_ms) / DAY_MS,
        )  # fmt: skip

    def push(self, event: EventT[Any]) -> None:
        """Buffer a record."""
        self.buffer.append(event)
        self.buffered_bytes += _buffered_size(event)
        self.last_record_at = time.monotonic()

    def pop(self) -> EventT[Any]:
        """The oldest record of the buffer."""
        event = self.buffer.popleft()
        self.buffered_bytes -= _buffered_size(event)
        return event

    def clear(self) -> None:
        """Drop what is buffered: it is read again."""
        self.buffer.clear()
        self.buffered_bytes = 0
        self.paused = False


@dataclass(frozen=True, slots=True)
class PartitionOpener:
    """What the state of a partition depends on beside its rows."""

    topics: TopicSettings
    stores: StoreSettings
    partition: PartitionSettings
    catalog: Catalog
    popularity: Mapping[int, ItemTables]  # part of each partition; empty where a single one is all there is

    @property
    def topic(self) -> str:
        """The name of `events` under the prefix."""
        return names(self.topics.prefix).events

    def store(self, number: int, wait_s: float) -> PartitionStore:
        """Open the store. `wait_s`: how long another process may still hold it.

        Raises StoreUnfit where it was made under another topic or partitioning; other settings that differ are warned of.
        """
        about: dict[str, object] = {
            "topic": self.topic, "partition": number, "partitions": self.topics.partitions,
            "events_partitioner": self.topics.events_partitioner, **msgspec.to_builtins(self.partition),
        }  # fmt: skip
        store = PartitionStore(partition_path(self.stores, self.topic, number), self.stores, about, wait_s)
        changed = store.differences(msgspec.to_builtins(PartitionSettings()))
        fixed = [changed.pop(name) for name in FIXED if name in changed]
        if fixed:
            store.close()
            raise StoreUnfit(f"{store.path} was made with other settings ({'; '.join(fixed)}): set them back, or replay into a new prefix")
        for line in changed.values():
            log.warning("partition %d: the state was begun with another setting: partition.%s", number, line)
        return store

    def core(self, number: int, store: PartitionStore) -> Partition:
        """The partition's decisions over the rows of its store."""
        return Partition(self.partition, Tables.over(store.source), self.catalog, number, self.popularity)


def _buffered_size(event: EventT[Any]) -> int:
    return len(event.message.value or b"") + RECORD_OVERHEAD_BYTES
