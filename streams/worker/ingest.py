"""The agent of `events` and what stands behind it: buffer, apply, commit, send, acknowledge."""
from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from faust.types import TP, EventT

from online_model.features import Tick as LearnerTick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects, Outgoing, arrivals, original
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import ItemTables, Tables
from streams.kafka_io import dead_letters, messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import LogReader
from streams.kafka_io.messages import Increments, Out
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import Watchdog, end
from streams.worker.stores import PartitionStore, StoreError, StoreSettings, partition_path

if TYPE_CHECKING:
    from streams.worker.answers import Answers

SLICE = 200  # records applied between two looks at the event loop: about 3 ms
SHORT_SLICE = 50  # the same where lists are made too: they don't wait for more than 1 ms
SENDING = 8  # flushes that are committed and not acknowledged; beyond it taking in waits for the broker
RECORD_OVERHEAD_BYTES = 1_000  # of a buffered Faust event beside its value

log = logging.getLogger(__name__)


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How events are taken in."""

    flush_records: int = 500  # a flush at this many, or …
    flush_ms: float = 5.0  # … so long after the first; measured: 10 ms from produce to processed at p50
    buffer_mb: int = 32  # of values read ahead; beyond it the partition is paused, below half it goes on
    accept_loss: bool = False  # go on where the log no longer holds what the state needs; counted
    stall_s: float = 60.0  # a flush that takes longer ends the process

    def __post_init__(self) -> None:
        if self.flush_records < 1 or self.flush_ms < 0 or self.buffer_mb < 1 or self.stall_s <= 0:
            raise ValueError("flush_records, buffer_mb and stall_s must be positive, flush_ms not negative")


@dataclass(slots=True)
class Owned:
    """A partition that this worker owns."""

    number: int
    tp: TP
    store: PartitionStore
    core: Partition
    buffer: deque[EventT[Any]] = field(default_factory=deque)
    buffered_bytes: int = 0
    paused: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held by a flush
    sending: deque[asyncio.Task[None]] = field(default_factory=deque)  # steps 2 to 4 of flushes, each behind the one before
    last_record_at: float = field(default_factory=time.monotonic)
    unticked: bool = False  # examples went out since the last tick: the learner's micro-batch may be open
    counted: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, n: int = 1) -> None:
        self.counted[what] = self.counted.get(what, 0) + n


class Ingest:
    """The partitions of `events` that this worker owns."""

    def __init__(
        self, topics: TopicSettings, stores: StoreSettings, partition: PartitionSettings, settings: IngestSettings,
        catalog: Any, foreign: Mapping[int, ItemTables], delivery: Delivery, watchdog: Watchdog,
    ) -> None:  # fmt: skip
        self.topics, self.stores, self.partition, self.settings = topics, stores, partition, settings
        self.owned: dict[int, Owned] = {}
        self.consumer: Any = None  # Faust's, for pausing; set when the app has one
        self.flushes = 0
        self.unsent = 0  # outbox rows that are not acknowledged
        self.answers: Answers | None = None  # told of what is durable
        self._topic = names(topics.prefix).events
        self._catalog, self._foreign, self._delivery, self._watchdog = catalog, foreign, delivery, watchdog
        self._log = LogReader(topics.bootstrap)
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        await self._log.start()

    async def stop(self) -> None:
        await self.revoked([o.tp for o in self.owned.values()])
        await self._log.stop()

    async def assigned(self, tps: Iterable[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Open what is newly owned, send what may not have been sent, and say where to read on."""
        out = {}
        for tp in sorted(tps):
            if tp.topic != self._topic:
                continue
            owned = self.owned.get(tp.partition)
            if owned is None:
                owned = self.owned[tp.partition] = await self._own(tp, committed.get(tp))
            self._clear(owned)
            out[tp] = owned.store.stored + 1
        return out

    async def _own(self, tp: TP, committed: int | None) -> Owned:
        store = await asyncio.to_thread(self._open, tp.partition)
        try:
            await self._resend(store)
            at = await self._position(tp, store, committed)
            if at != store.stored + 1:
                store.commit({}, [], at - 1)
            core = Partition(self.partition, Tables.over(store.source), self._catalog, tp.partition, self._foreign)
        except BaseException:
            store.close()
            raise
        if self.answers is not None and self.topics.partitions == 1:  # else it hears of the parts of all partitions
            self.answers.begin(store.rows()["popularity"], store.rows()["co_listening"])
        return Owned(tp.partition, tp, store, core, unticked=core.progress.open_lists > 0)

    async def revoked(self, tps: Iterable[TP]) -> None:
        """Give partitions up: what is committed is sent, the rest is dropped and read again by the next owner."""
        for tp in tps:
            owned = self.owned.pop(tp.partition, None) if tp.topic == self._topic else None
            if owned is None:
                continue
            try:
                async with asyncio.timeout(self.settings.stall_s / 2):
                    async with owned.lock:
                        self._clear(owned)
                    if owned.sending:
                        await asyncio.shield(owned.sending[-1])
            except TimeoutError as error:
                end(f"partition {tp.partition} was revoked, and could not be settled in time", error)
            owned.store.close()

    def take(self, event: EventT[Any]) -> None:
        """Buffer a record; wake the flush at once when it is due, else a few milliseconds after the first."""
        message = event.message
        owned = self.owned.get(message.partition)
        if owned is None:
            return  # of an assignment that has ended
        owned.buffer.append(event)
        owned.buffered_bytes += _weight(event)
        owned.last_record_at = time.monotonic()
        if owned.buffered_bytes > self.settings.buffer_mb << 20 and not owned.paused:
            owned.paused = True
            self.consumer.on_buffer_full(owned.tp)
        if len(owned.buffer) >= self.settings.flush_records:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.settings.flush_ms / 1000, self._wake.set)

    async def run(self) -> None:
        """Flush what is buffered, for ever."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                while any(o.buffer for o in self.owned.values()):
                    for owned in list(self.owned.values()):
                        if owned.buffer:
                            await self.commit(owned)
        except Exception as error:  # noqa: BLE001 - an agent that raises loses events; a process that ends does not
            end("taking in events failed", error)

    async def commit(self, owned: Owned) -> None:
        """Flush one partition: apply what is buffered, then in this order

        1. one WriteBatch: rows of the tables, outgoing records (outbox), offset;
        2. send the outbox and wait until the broker has it;
        3. delete from the outbox what it has;
        4. acknowledge to Faust.

        Waiting in step 2, and steps 3 and 4, go on beside later flushes; records leave, and are forgotten, in order.
        """
        async with owned.lock:
            with self._watchdog.busy(f"flush of partition {owned.number}"):
                events, effects, last = await self._apply(owned)
                if self.owned.get(owned.number) is not owned:
                    return  # revoked while applying: the next owner reads these again
                rows = self._rows(owned, effects)
                keys: list[bytes] = []
                if last > owned.store.stored:
                    tables = owned.core.tables.named()
                    keys = owned.store.commit({n: t.writes() for n, t in tables.items()}, [messages.encode(r) for r in rows], last)
                    for table in tables.values():
                        table.settle()
                    self.flushes += 1
                    self.unsent += len(rows)
                    self._tell(effects)
            landed = await self._delivery.begin(rows)
            before = owned.sending[-1] if owned.sending else None
            owned.sending.append(asyncio.create_task(self._settle(owned, before, landed, keys, events)))
            if len(owned.sending) > SENDING:
                await asyncio.shield(owned.sending[0])

    def _tell(self, effects: _Gathered) -> None:
        if self.answers is None:
            return
        if self.topics.partitions == 1:
            self.answers.hear([i for _, several in effects.popularity for i in several])
        if effects.named:
            self.answers.meet(effects.named)

    async def _settle(
        self, owned: Owned, before: asyncio.Task[None] | None, landed: list[Any], keys: list[bytes], events: list[EventT[Any]]
    ) -> None:
        """Steps 3 and 4 of a flush, after those of the flush before."""
        try:
            if before is not None:
                await asyncio.shield(before)
            if landed:
                await asyncio.gather(*landed)
                owned.store.sent(keys)
                self.unsent -= len(keys)
            for event in events:
                event.ack()
            owned.sending.popleft()
        except Exception as error:  # noqa: BLE001 - as in `run`
            end(f"sending the effects of partition {owned.number} failed", error)

    async def _apply(self, owned: Owned) -> tuple[list[EventT[Any]], _Gathered, int]:
        """Apply buffered records up to the flush size; the events taken, what they caused, the last offset."""
        events: list[EventT[Any]] = []
        gathered = _Gathered()
        last, applied = owned.store.stored, 0
        place = f"{self._topic}-{owned.number}"
        while owned.buffer and applied < self.settings.flush_records:
            event = owned.buffer.popleft()
            owned.buffered_bytes -= _weight(event)
            message = event.message
            events.append(event)
            if message.offset <= last:
                owned.count("repeated_records")
                continue
            if message.offset != last + 1:
                await self._step_over(owned, last + 1, message.offset)
            value: bytes | None = message.value
            arrived = arrivals(place, message.offset, int(message.timestamp * 1000 + 0.5), _headers(message), value)
            self._check_key(owned, message.key)
            size = SLICE if self.answers is None else SHORT_SLICE
            if self.answers is not None and not len(self._catalog):
                gathered.named += arrived
            for first in range(0, len(arrived), size):
                piece = arrived[first : first + size]
                gathered.add(message.offset, owned.core.apply(piece), arrived, value or b"")
                applied += len(piece)
                if applied // size != (applied - len(piece)) // size:
                    await asyncio.sleep(0)
                    if self.answers is not None:
                        await self.answers.turn()
            last = message.offset
        if owned.paused and owned.buffered_bytes < self.settings.buffer_mb << 19:
            owned.paused = False
            self.consumer.on_buffer_drop(owned.tp)
        owned.count("records", len(events))
        return events, gathered, last

    def _rows(self, owned: Owned, effects: _Gathered) -> list[Out]:
        """What leaves, as outbox rows."""
        if effects.examples:
            owned.unticked = not isinstance(effects.examples[-1].record, LearnerTick)
        rows = [Out("examples", 0, None, chunk) for chunk in messages.example_chunks(owned.number, effects.examples)]
        if effects.popularity and self.topics.partitions > 1:  # a single partition's part is all there is
            rows.append(Out("popularity", owned.number, None, messages.encode(Increments(owned.number, effects.popularity))))
        rows += [Out("exposures", -1, e.user_id.encode(), msgspec.json.encode(e)) for e in effects.exposures]
        rows += [Out("dead_letter", 0, None, dead_letters.letter(self._topic, owned.number, d, raw)) for d, raw in effects.dead]
        return rows

    def _open(self, partition: int) -> PartitionStore:
        about: dict[str, object] = {
            "topic": self._topic, "partition": partition, "partitions": self.topics.partitions,
            "events_partitioner": self.topics.events_partitioner, **msgspec.to_builtins(self.partition),
        }  # fmt: skip
        store = PartitionStore(partition_path(self.stores, self._topic, partition), self.stores, about, wait_s=self.settings.stall_s / 2)
        changed = store.differences()
        fixed = [line for line in changed if line.split(":")[0] in ("topic", "partition", "partitions", "events_partitioner")]
        if fixed:
            store.close()
            raise StoreError(f"{store.path} was made with other settings ({'; '.join(fixed)}): set them back, or replay into a new prefix")
        for line in changed:
            log.warning("partition %d: the state was begun with another setting: %s", partition, line)
        return store

    async def _resend(self, store: PartitionStore) -> None:
        left = store.outbox()
        if left:
            log.warning("%s: sending %d records again that may not have been sent", store.path, len(left))
            await self._delivery.send([messages.out(value) for _, value in left])
            store.sent([key for key, _ in left])

    async def _position(self, tp: TP, store: PartitionStore, committed: int | None) -> int:
        """Where to read on: behind the stored offset, if the log still has that place."""
        first, end_of_log = await self._log.bounds(tp.topic, tp.partition)
        at = store.stored + 1
        if at > end_of_log:
            raise StoreError(
                f"{store.path} is at offset {store.stored:,}, but {tp.topic}-{tp.partition} ends at {end_of_log:,}: it is another topic; "
                "move the store away to build it anew from this log"
            )
        if at >= first:
            return at
        if store.fresh and not committed:
            log.warning("%s-%d begins at offset %d: what was before is not part of the state", tp.topic, tp.partition, first)
        elif not self.settings.accept_loss:
            raise StoreError(
                f"{tp.topic}-{tp.partition}: offsets {at:,} to {first - 1:,} are lost: the state needs them, the log no longer has them; "
                "restore a store or checkpoint that is newer, or go on without them by --accept-loss"
            )
        else:
            log.warning("%s-%d: going on without offsets %d to %d", tp.topic, tp.partition, at, first - 1)
        return first

    async def _step_over(self, owned: Owned, first: int, seen: int) -> None:
        """A gap in the offsets: nothing there (transaction markers) is legal and counted, something there is a loss."""
        found = await self._log.anything(owned.tp.topic, owned.number, first, seen)
        if found is not None:
            end(f"{owned.tp.topic}-{owned.number}: offset {seen} came when {first} was due, and {found} is there: an event was jumped over")
        owned.count("empty_offsets", seen - first)

    def _check_key(self, owned: Owned, key: bytes | None) -> None:
        if key is not None and self._delivery.partition(key) != owned.number:
            owned.count("misplaced_records")

    def _clear(self, owned: Owned) -> None:
        owned.buffer.clear()
        owned.buffered_bytes = 0
        owned.paused = False


class _Gathered:
    """Effects of the records of one flush."""

    __slots__ = ("dead", "examples", "exposures", "named", "popularity")

    def __init__(self) -> None:
        self.examples: list[Outgoing] = []
        self.popularity: list[tuple[int, list[Any]]] = []
        self.exposures: list[Any] = []
        self.dead: list[tuple[Any, bytes]] = []
        self.named: list[Arrived] = []  # whose items are known by their events alone

    def add(self, offset: int, effects: Effects, arrived: list[Arrived], value: bytes) -> None:
        self.examples += effects.examples
        if effects.popularity:
            if self.popularity and self.popularity[-1][0] == offset:
                self.popularity[-1][1].extend(effects.popularity)
            else:
                self.popularity.append((offset, effects.popularity))
        self.exposures += effects.exposures
        self.dead += [(d, d.raw or original(value, arrived[d.index])) for d in effects.dead]


def _headers(message: Any) -> list[tuple[str, bytes]]:
    return list(message.headers) if message.headers else []


def _weight(event: EventT[Any]) -> int:
    return len(event.message.value or b"") + RECORD_OVERHEAD_BYTES
