"""Behind the agent of `examples`: learn in turns, publish every version, acknowledge what a durable checkpoint contains."""
from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from faust.types import TP, EventT

from streams.core.learning.learn import Learner, Step
from streams.kafka_io import messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import EmptyOffsets, LogReader
from streams.kafka_io.messages import Delta, Examples
from streams.kafka_io.offset_guard import OffsetGuard
from streams.kafka_io.own_records import Foreign, OwnRecords
from streams.kafka_io.topics import names
from streams.learner.checkpointing import Checkpointing, Loaded
from streams.learner.epochs import EpochClaim
from streams.learner.publishing import Publisher
from streams.learner.settings import LearningSettings
from streams.watchdog import Watchdog, end

TURN_S = 0.05  # of learning between two deltas: a backlog gives fewer, larger ones, a quiet stream one a step
SLICE = 64  # elements between two looks at the clock
AHEAD = 16  # records lined up: small ones share a turn
BEAT_S = 1.0
PARTITION = 0  # of `examples`: its only one

T = TypeVar("T")


@dataclass(slots=True)
class QueuedRecord:
    """A record of `examples` on its way through the learner."""

    event: EventT[Any]
    applied: int = 0  # of its elements
    done: bool = False
    part: Examples | Foreign | None = None  # its elements, once they are decoded


class LearningLoop:
    """The single partition of `examples`, and the learner over it."""

    def __init__(self, config: LearningSettings, delivery: Delivery, watchdog: Watchdog) -> None:
        self.config = config
        self.learner: Learner | None = None  # None: a standby
        self.applied = -1  # offset in `examples`
        self._log_end = 0  # of `examples`, as far as it was heard of
        self.base = ""  # checkpoint that the learner goes on from; "" for a new one
        self.base_version = 0  # its version
        self.turns = 0
        self.checkpoints = Checkpointing(config, watchdog)
        self.claim = EpochClaim(config.topics, delivery)
        self.publisher = Publisher(delivery, config.process.dense_every_s)
        self._watchdog = watchdog
        self.log = LogReader(config.topics.bootstrap)
        topic = names(config.topics.prefix).examples
        self.guard = OffsetGuard(self.log, topic, PARTITION, config.process.accept_loss, "learner_process.accept_loss")
        self.own = OwnRecords(config.topics, "examples", messages.examples, "learner", delivery)
        self._buffer: deque[EventT[Any]] = deque()
        self._queue: deque[QueuedRecord] = deque()
        self._unacked: deque[EventT[Any]] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "learn")  # one: order is what makes it exact
        self._lock = asyncio.Lock()  # held while learning
        self._loading: asyncio.Future[Loaded] | None = None
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def epoch(self) -> int:
        """Of this learner's claim; -1 before it."""
        return self.claim.epoch

    @property
    def place(self) -> tuple[str, int]:
        """The topic and partition that it reads."""
        return self.guard.topic, self.guard.partition

    @property
    def empty(self) -> EmptyOffsets:
        """What the consumer tells of offsets without a record."""
        return self.log.empty

    def load(self) -> None:
        """Start to load the newest checkpoint; `assigned` waits for it."""
        self._loading = self._in_thread(self.checkpoints.load)
        self._loading.add_done_callback(lambda done: done.cancelled() or done.exception())  # told where it is awaited

    async def loaded(self) -> None:
        """Wait for what `load` has begun. Raises what it raises: a standby must be able to take over, too."""
        if self._loading is not None:
            await asyncio.shield(self._loading)

    async def start(self) -> None:
        """Connect the log reader, and learn from what will be buffered."""
        await self.log.start()
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let a turn end (cancelled within, state and offset would not fit), then save."""
        self._stopping = True
        self._wake.set()
        if self._running is not None:
            await self._running
        await self.revoked()
        self.claim.stop()
        await self.log.stop()
        self._thread.shutdown()

    async def assigned(self, tps: Iterable[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Become the learner: load, claim the epoch, and read on behind what the checkpoint contains.

        Raises NeedsOperator where the checkpoint does not fit the settings, or the topic (OffsetError).
        """
        tp = next((tp for tp in tps if tp.topic == self.guard.topic), None)
        if tp is None:
            return {}  # a standby
        self._buffer.clear()
        self._queue.clear()
        if self.learner is None:
            await self._become_learner(committed.get(tp))
        return {tp: self.applied + 1}

    async def revoked(self, tps: Iterable[TP] = ()) -> None:
        """Another may become the learner: leave a checkpoint with all that was learned."""
        self._buffer.clear()
        async with self._lock:
            if self.learner is not None:
                await self._checkpoint()
                await self.checkpoints.settle()
            self.learner = None
            self._unacked.clear()
            self._queue.clear()

    def lag(self, highwater: int | None) -> int:
        """Records of `examples` that are not learned. `highwater`: what the consumer has heard; None before its first fetch."""
        self._log_end = max(self._log_end, highwater or 0)
        return max(self._log_end - self.applied - 1, 0)

    async def between_turns(self, read: Callable[[Learner], T]) -> T | None:
        """What `read` returns of the learner, which does not learn meanwhile; None of a standby."""
        async with self._lock:
            if self.learner is None:
                return None
            return await self._in_thread(read, self.learner)

    def buffer(self, event: EventT[Any]) -> None:
        """Buffer a record."""
        if self.learner is not None:
            self._buffer.append(event)
            self._wake.set()

    async def _become_learner(self, committed: int | None) -> None:
        """In this order: load; find the place in the log; claim; a first checkpoint where there is none; watch for other claims."""
        loading, self._loading = self._loading, None
        learner, base, applied = await (loading or self._in_thread(self.checkpoints.load))
        if base != self.checkpoints.newest():  # a standby's: another learner has gone on since
            learner, base, applied = await self._in_thread(self.checkpoints.load)
        self.applied = await self.guard.resume(applied, self.checkpoints.root, new=not base and not committed) - 1
        _, self._log_end = await self.log.bounds(self.guard.topic, PARTITION)
        await self.claim.claim(base, learner.version)
        self.publisher.begin_epoch(self.epoch, learner)
        self.learner, self.base, self.base_version = learner, base, learner.version
        if not base:
            await self._checkpoint()  # what replicas begin with
            await self.checkpoints.settle()
        self.checkpoints.restart_clock()
        self.claim.watch()

    async def _run(self) -> None:
        """Learn from what is buffered, publish, save; for ever."""
        try:
            while not self._stopping:
                try:
                    async with asyncio.timeout(BEAT_S):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
                while (self._buffer or self._queue) and not self._stopping:
                    async with self._lock:
                        await self._turn()
                async with self._lock:
                    await self._beat()
        except Exception as error:  # noqa: BLE001 - an agent that raises loses records; a process that ends does not
            end("learning failed", error)

    async def _turn(self) -> None:
        """In this order: learn for a moment; publish what changed; save and acknowledge when it is time.

        The broker may take its time: what is published is awaited only before the next is, or before a checkpoint.
        """
        learner = self.learner
        if learner is None:
            return
        with self._watchdog.busy("learning"):
            await self._enqueue()
            delta = await self._in_thread(self._learn, learner)
        self.turns += 1
        while self._queue and self._queue[0].done:
            record = self._queue.popleft()
            event = record.event
            if isinstance(record.part, Foreign):
                await self.own.skip(event.message, record.part.detail)
            self.applied = event.message.offset
            event.message.value = None  # kept only to be acknowledged
            self._unacked.append(event)
        await self.publisher.publish(learner, delta)
        if self.checkpoints.due:
            await self._checkpoint()

    async def _enqueue(self) -> None:
        """Line up records that were not learned yet."""
        last = self._queue[-1].event.message.offset if self._queue else self.applied
        while self._buffer and len(self._queue) < AHEAD:
            event = self._buffer.popleft()
            if await self.guard.admits(event.message.offset, last):
                self._queue.append(QueuedRecord(event))
                last = event.message.offset
            else:
                self._unacked.append(event)

    def _learn(self, learner: Learner) -> Delta | None:
        """In the learning thread: apply for a moment; one delta of all that changed.

        A record that is left half applied is safe in a checkpoint: its source's sequence mark says how far it was.
        """
        until = time.monotonic() + TURN_S
        steps: list[Step] = []
        for record in self._queue:
            part = record.part = record.part or self._decoded(record)
            if isinstance(part, Foreign):
                record.done = True
                continue
            while record.applied < len(part.records):
                steps += learner.apply(part.source, part.records[record.applied : record.applied + SLICE])
                record.applied += SLICE
                if time.monotonic() > until:
                    break
            record.done = record.applied >= len(part.records)
            if not record.done or time.monotonic() > until:
                break
        return self.publisher.delta(self.epoch, learner, steps)

    def _decoded(self, record: QueuedRecord) -> Examples | Foreign:
        part, sources = self.own.decoded(record.event.message), self.config.topics.partitions
        if isinstance(part, Examples) and not 0 <= part.source < sources:
            return Foreign(f"examples of partition {part.source}, there are {sources}")
        return part

    async def _beat(self) -> None:
        if self.learner is None:
            return
        await self.publisher.beat(self.epoch, self.learner, BEAT_S)
        if self._unacked and self.checkpoints.due:
            await self._checkpoint()

    async def _checkpoint(self) -> None:
        """Copy all state (while nothing learns), save it beside further learning, then acknowledge what it contains."""
        await self.checkpoints.settle()
        await self.publisher.settle()
        if self.learner is None:
            return
        snapshot = await self._in_thread(
            self.checkpoints.snapshot, self.learner, self.epoch, self.applied, self.publisher.updates_offset
        )  # fmt: skip
        events, self._unacked = self._unacked, deque()
        self.checkpoints.start_writing(snapshot, events)

    def _in_thread(self, work: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
