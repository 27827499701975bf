"""Behind the agent of `events`: buffer, apply, commit, send, acknowledge."""
from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from faust.types import TP, EventT

from online_model.features import Tick as LearnerTick
from streams.core.join.events import EARLIEST_TS
from streams.core.join.records import Arrived, Effects, Outgoing, arrivals, original
from streams.kafka_io import dead_letters, messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import EmptyOffsets, LogReader
from streams.kafka_io.messages import Increments, Out
from streams.kafka_io.offset_guard import OffsetGuard
from streams.watchdog import Watchdog, end
from streams.worker.owned import OwnedPartition, PartitionOpener
from streams.worker.settings import IngestSettings
from streams.worker.stores import PartitionStore, StoreInUseError
from streams.worker.unapplied import LAST, UnappliedRecords

if TYPE_CHECKING:
    from streams.worker.answers import ServingThread

SLICE = 200  # records applied between two looks at the event loop: about 3 ms
SHORT_SLICE = 50  # the same where slates are made too: they don't wait for more than 1 ms
LOOK_S = 0.05  # between two looks whether a store is free
SENDING = 8  # flushes that are committed and not acknowledged; beyond it ingest waits for the broker

log = logging.getLogger(__name__)


class Ingest:
    """The partitions of `events` that this worker owns."""

    def __init__(
        self, opener: PartitionOpener, settings: IngestSettings, delivery: Delivery, watchdog: Watchdog,
        earliest_ts: int = EARLIEST_TS,
    ) -> None:  # fmt: skip
        self.opener, self.settings = opener, settings
        self._earliest_ts = earliest_ts  # of events
        self.owned: dict[int, OwnedPartition] = {}
        self.consumer: Any = None  # Faust's, for pausing; set when the app has one
        self.flushes = 0
        self.unsent = 0  # outbox rows that are not acknowledged
        self.serving: ServingThread | None = None  # gets all that is durable
        self._single = opener.topics.partitions == 1
        self._delivery, self._watchdog = delivery, watchdog
        self.log = LogReader(opener.topics.bootstrap)
        self._pacing = asyncio.Lock()  # one slice between two looks at the event loop, of however many partitions
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def empty(self) -> EmptyOffsets:
        """What the consumer tells of offsets without a record."""
        return self.log.empty

    async def start(self) -> None:
        """Connect the log reader."""
        await self.log.start()

    async def stop(self) -> None:
        """Give all partitions up."""
        await self.revoked([o.tp for o in self.owned.values()])
        await self.log.stop()

    async def assigned(self, tps: Iterable[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Open what is newly owned, and return where to read on, by partition.

        Raises StoreError and OffsetError where a state can't be used, or does not fit the log.
        """
        out = {}
        for tp in sorted(tps):
            if tp.topic != self.opener.topic:
                continue
            owned = self.owned.get(tp.partition)
            if owned is None:
                owned = self.owned[tp.partition] = await self._open(tp, committed.get(tp))
            owned.clear()
            out[tp] = owned.store.stored + 1
        return out

    async def _open(self, tp: TP, committed: int | None) -> OwnedPartition:
        """Send what may not have been sent, then find the place in the log, then read the state."""
        store = await self._store(tp.partition)
        guard = OffsetGuard(self.log, tp.topic, tp.partition, self.settings.accept_loss)
        try:
            await self._resend(store)
            due = await guard.resume(store.stored, store.path, new=store.new and not committed)
            if due != store.stored + 1:
                store.commit({}, [], due - 1)
            core = self.opener.core(tp.partition, store)
            _, log_end = await self.log.bounds(tp.topic, tp.partition)
        except BaseException:
            store.close()
            raise
        if self.serving is not None and self._single:  # else it gets the parts of all partitions
            self.serving.seed_popularity(store.rows()["popularity"], store.rows()["co_listening"])
        unapplied = UnappliedRecords((store.stored, LAST), self.opener.partition.shown_limit)
        return OwnedPartition(tp.partition, tp, store, core, guard, log_end, unapplied=unapplied, tick_due=core.progress.open_lists > 0)

    def lag(self, owned: OwnedPartition) -> int:
        """Records of the partition that are in the log and not in the state."""
        return owned.lag(self.consumer.highwater(owned.tp) if self.consumer is not None else None)

    def catching_up(self) -> dict[int, int]:
        """Partitions whose state is far behind the log (`IngestSettings.caught_up_lag`): how many records."""
        lags = {number: self.lag(owned) for number, owned in sorted(self.owned.items())}
        return {number: lag for number, lag in lags.items() if self.owned[number].look(lag, self.settings.caught_up_lag)}

    async def _store(self, number: int) -> PartitionStore:
        """Open the store once no other process holds it. Cut off, it leaves none open: a thread can't be cancelled, only awaited."""
        deadline = time.monotonic() + self.settings.stall_s / 2
        while True:
            opening = asyncio.ensure_future(asyncio.to_thread(self.opener.store, number, 0.0))
            try:
                return await asyncio.shield(opening)
            except asyncio.CancelledError:
                await asyncio.wait({opening})
                if opening.exception() is None:
                    opening.result().close()
                raise
            except StoreInUseError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(LOOK_S)

    async def _resend(self, store: PartitionStore) -> None:
        left = store.outbox()
        if left:
            log.warning("%s: sending %d records again that may not have been sent", store.path, len(left))
            await self._delivery.send([messages.out(value) for _, value in left])
            store.sent([key for key, _ in left])

    async def revoked(self, tps: Iterable[TP]) -> None:
        """Give partitions up: what is committed is sent, the rest is dropped and read again by the next owner."""
        for tp in tps:
            owned = self.owned.pop(tp.partition, None) if tp.topic == self.opener.topic else None
            if owned is None:
                continue
            try:
                async with asyncio.timeout(self.settings.stall_s / 2):
                    async with owned.lock:
                        owned.clear()
                    if owned.sending:
                        await asyncio.shield(owned.sending[-1])
            except TimeoutError as error:
                end(f"partition {tp.partition} was revoked, and could not be settled in time", error)
            owned.store.close()

    def buffer(self, event: EventT[Any]) -> None:
        """Buffer a record; wake the flush at once when it is due, else a few milliseconds after the first."""
        owned = self.owned.get(event.message.partition)
        if owned is None:
            return  # of an assignment that has ended
        owned.push(event)
        if owned.buffered_bytes > self.settings.buffer_mb << 20 and not owned.paused:
            owned.paused = True
            self.consumer.on_buffer_full(owned.tp)
        if len(owned.buffer) >= self.settings.flush_records:
            self._wake.set()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.settings.flush_ms / 1000, self._wake.set)

    async def run(self) -> None:
        """Flush what is buffered, for ever, each partition by itself: one that stalls leaves the others going."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for owned in self.owned.values():
                if owned.buffer and (owned.flushing is None or owned.flushing.done()):
                    owned.flushing = asyncio.create_task(self._flush(owned))

    async def _flush(self, owned: OwnedPartition) -> None:
        """Flush until nothing is buffered, or the partition is given up."""
        try:
            while owned.buffer and self.owned.get(owned.number) is owned:
                await self.commit(owned)
        except Exception as error:  # noqa: BLE001 - an agent that raises loses events; a process that ends does not
            end("taking in events failed", error)

    def stalled(self, limit_s: float) -> list[str]:
        """Partitions whose flush has not ended, or whose effects Kafka has not acknowledged, for so long."""
        late, owned = time.monotonic() - limit_s, self.owned.values()
        flushing = [f"flush of partition {o.number}" for o in owned if o.lock.locked() and o.flush_began_at < late]
        return flushing + [f"acknowledgement of what partition {o.number} sends" for o in owned if o.sending and o.settled_at < late]

    async def commit(self, owned: OwnedPartition) -> None:
        """Flush one partition: apply what is buffered, then in this order

        1. one WriteBatch: rows of the tables, outgoing records (outbox), offset;
        2. send the outbox and wait until the broker has it;
        3. delete from the outbox what it has;
        4. acknowledge to Faust.

        Waiting in step 2, and steps 3 and 4, go on beside later flushes; records leave, and are forgotten, in order.
        """
        async with owned.lock:
            owned.flush_began_at = time.monotonic()
            with self._watchdog.busy(f"flush of partition {owned.number}"):
                events, effects, last = await self._apply(owned)
                if self.owned.get(owned.number) is not owned:
                    return  # revoked while applying: the next owner reads these again
                rows = self._outbox_rows(owned, effects)
                keys: list[bytes] = []
                if last > owned.store.stored:
                    tables = owned.core.tables.named()
                    keys = owned.store.commit({n: t.writes() for n, t in tables.items()}, [messages.encode(r) for r in rows], last)
                    for table in tables.values():
                        table.settle()
                    self.flushes += 1
                    self.unsent += len(rows)
                    owned.look(self.lag(owned), self.settings.caught_up_lag)
                    self._notify_serving(effects)
            sent = await self._delivery.start_sending(rows)
            before = owned.sending[-1] if owned.sending else None
            if before is None:
                owned.settled_at = time.monotonic()
            owned.sending.append(asyncio.create_task(self._settle(owned, before, sent, keys, events)))
            if len(owned.sending) > SENDING:
                await asyncio.shield(owned.sending[0])

    def _notify_serving(self, effects: _FlushEffects) -> None:
        if self.serving is None:
            return
        if self._single:
            self.serving.add_popularity([i for _, several in effects.popularity for i in several])
        if effects.uncataloged:
            self.serving.add_named_items(effects.uncataloged)

    async def _settle(
        self, owned: OwnedPartition, before: asyncio.Task[None] | None, sent: list[Any], keys: list[bytes], events: list[EventT[Any]]
    ) -> None:
        """Steps 2 (waiting), 3 and 4 of a flush, after those of the flush before."""
        try:
            if before is not None:
                await asyncio.shield(before)
            if sent:
                await asyncio.gather(*sent)
                owned.store.sent(keys)
                self.unsent -= len(keys)
            for event in events:
                event.ack()
            owned.sending.popleft()
            owned.settled_at = time.monotonic()
        except Exception as error:  # noqa: BLE001 - as in `run`
            end(f"sending the effects of partition {owned.number} failed", error)

    async def _apply(self, owned: OwnedPartition) -> tuple[list[EventT[Any]], _FlushEffects, int]:
        """Apply buffered records up to the flush size; the events, their effects, the last offset."""
        events: list[EventT[Any]] = []
        effects = _FlushEffects()
        last, applied = owned.store.stored, 0
        size = SLICE if self.serving is None else SHORT_SLICE
        while owned.buffer and applied < self.settings.flush_records:
            event = owned.pop()
            message = event.message
            events.append(event)
            if not await owned.guard.admits(message.offset, last):
                continue
            if message.key is not None and self._delivery.partition(message.key) != owned.number:
                owned.counted["misplaced_records"] += 1
            value: bytes | None = message.value
            headers: Any = message.headers or ()
            appended_ms = int(message.timestamp * 1000 + 0.5)
            arrived = arrivals(owned.guard.place, message.offset, appended_ms, list(headers), value, self._earliest_ts)
            if self.serving is not None and not len(self.opener.catalog):
                effects.uncataloged += arrived
            for first in range(0, len(arrived), size):
                piece = arrived[first : first + size]
                jumped_ms = owned.core.progress.jumped_to_ms
                effects.add(message.offset, owned.core.apply(piece), arrived, value or b"")
                owned.warn_of_a_jump(jumped_ms)
                owned.unapplied.applied = message.offset, piece[-1].index
                applied += len(piece)
                if applied // size != (applied - len(piece)) // size:
                    async with self._pacing:
                        await asyncio.sleep(0)
                    if self.serving is not None:
                        await self.serving.turn()
            last = message.offset
        if owned.paused and owned.buffered_bytes < self.settings.buffer_mb << 19:
            owned.paused = False
            self.consumer.on_buffer_drop(owned.tp)
        owned.counted["records"] += len(events)
        return events, effects, last

    def _outbox_rows(self, owned: OwnedPartition, effects: _FlushEffects) -> list[Out]:
        if effects.examples:
            owned.tick_due = not isinstance(effects.examples[-1].record, LearnerTick)
        rows = [Out("examples", 0, None, chunk) for chunk in messages.example_chunks(owned.number, effects.examples)]
        if effects.popularity and not self._single:  # a single partition's part is all there is
            rows.append(Out("popularity", owned.number, None, messages.encode(Increments(owned.number, effects.popularity))))
        rows += [Out("exposures", -1, e.user_id.encode(), msgspec.json.encode(e)) for e in effects.exposures]
        rows += [Out("dead_letter", 0, None, dead_letters.letter(self.opener.topic, owned.number, d, raw)) for d, raw in effects.dead]
        return rows


@dataclass(slots=True)
class _FlushEffects:
    """Effects of the records of one flush."""

    examples: list[Outgoing] = field(default_factory=list)
    popularity: list[tuple[int, list[Any]]] = field(default_factory=list)
    exposures: list[Any] = field(default_factory=list)
    dead: list[tuple[Any, bytes]] = field(default_factory=list)
    uncataloged: list[Arrived] = field(default_factory=list)  # whose items are known by their events alone

    def add(self, offset: int, effects: Effects, arrived: list[Arrived], value: bytes) -> None:
        """Effects of a part of the record at `offset`. `arrived`, `value`: of the whole record."""
        self.examples += effects.examples
        if effects.popularity:
            if self.popularity and self.popularity[-1][0] == offset:
                self.popularity[-1][1].extend(effects.popularity)
            else:
                self.popularity.append((offset, effects.popularity))
        self.exposures += effects.exposures
        self.dead += [(d, d.raw or original(value, arrived[d.index])) for d in effects.dead]
