"""Behind the agent of `examples`: learn in turns, publish every version, acknowledge what a durable checkpoint contains."""
from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from aiokafka.structs import RecordMetadata
from faust.types import TP, EventT

from bandit.settings import BanditSettings
from online_model import checkpoint
from online_model.checkpoint import Conditions
from online_model.model_settings import ModelSettings
from streams.core.join.rewards import RewardSettings
from streams.core.learning.learn import Learner, LearnerSettings, Step
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.recommend import Preset
from streams.core.serving.surfaces import by_default
from streams.kafka_io import messages
from streams.kafka_io.app import FaustSettings
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import LogReader
from streams.kafka_io.messages import Beat, Claim, Delta, Examples, Out
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import Watchdog, end

TURN_S = 0.05  # of learning between two deltas: a backlog gives fewer, larger ones, a quiet stream one a step
SLICE = 64  # elements between two looks at the clock
AHEAD = 16  # records lined up: small ones share a turn
BEAT_S = 1.0
SOURCE = 0  # the partition of `examples`

T = TypeVar("T")
log = logging.getLogger(__name__)


class LearnerProcessSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the learner runs; what it learns by is in `learner` and `model`."""

    checkpoint_dir: str = "run/checkpoints"
    checkpoint_every_s: float = 30.0  # what a restart has to learn again at most
    keep: int = 3  # newest checkpoints that stay
    dense_every_s: float = 1.0  # dense parameters are published this often; rows with every delta
    device: str = "auto"  # auto: cuda where there is one
    threads: int = 1  # of torch; part of what makes a rerun give the same bytes
    accept_loss: bool = False  # go on where `examples` no longer holds what the state needs
    stall_s: float = 120.0  # learning or a checkpoint that takes longer ends the process

    def __post_init__(self) -> None:
        if self.checkpoint_every_s <= 0 or self.keep < 1 or self.threads < 1 or self.dense_every_s < 0:
            raise ValueError("checkpoint_every_s, keep and threads must be positive, dense_every_s not negative")


class LearningSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a learner runs by."""

    topics: TopicSettings = TopicSettings()
    learner: LearnerSettings = LearnerSettings()
    model: ModelSettings = ModelSettings()
    bandit: BanditSettings = BanditSettings()
    arms: dict[str, tuple[str, ...]] = msgspec.field(default_factory=by_default)  # what is chosen among, by surface
    reward: RewardSettings = RewardSettings()  # that workers say what strategies earned by
    presets: dict[str, Preset] = {}  # what the strategies of these names are
    process: LearnerProcessSettings = LearnerProcessSettings()
    faust: FaustSettings = FaustSettings()


class LearnerError(RuntimeError):
    """The learner can't go on from what it found; the message says why and what to do."""


class _Work:
    """A record of `examples` on its way through the learner."""

    __slots__ = ("_part", "at", "done", "event")

    def __init__(self, event: EventT[Any]) -> None:
        self.event = event
        self.at = 0  # of its elements, applied
        self.done = False
        self._part: Examples | None = None

    def part(self) -> Examples:
        if self._part is None:
            self._part = messages.examples(self.event.message.value or b"")
        return self._part


class _Snapshot(NamedTuple):
    name: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def _write(root: Path, snapshot: _Snapshot, conditions: Conditions, keep: int) -> None:
    checkpoint.save(root, snapshot.name, snapshot.arrays, snapshot.meta, conditions, keep)


class LearningLoop:
    """The single partition of `examples`, and the learner over it."""

    def __init__(self, config: LearningSettings, delivery: Delivery, watchdog: Watchdog) -> None:
        self.config = config
        self.learner: Learner | None = None
        self.applied = -1  # offset in `examples`
        self.epoch = -1
        self.checkpoints = 0
        self.published = 0
        self.acts = 0  # in what was published
        self.turns = 0
        self.counted: dict[str, int] = {}
        self._delivery, self._watchdog = delivery, watchdog
        self._log = LogReader(config.topics.bootstrap)
        self._topics = names(config.topics.prefix)
        self._buffer: deque[EventT[Any]] = deque()
        self._unacked: deque[EventT[Any]] = deque()
        self._work: deque[_Work] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, "learn")  # one: order is what makes it exact
        self._lock = asyncio.Lock()  # held while learning
        self._saved_at = time.monotonic()
        self._dense_at = 0.0
        self._said_at = 0.0
        self._told = 0  # version of the choice among strategies that was last published
        self._dense_due = False  # dense parameters changed since they were last published
        self._updates_offset = 0  # of what model-updates held when the state was as it is
        self._on_its_way: list[asyncio.Future[RecordMetadata]] = []  # what the last turn had to say
        self._fence: asyncio.Task[None] | None = None
        self._loading: asyncio.Future[tuple[Learner, str, int]] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._stopping = False
        self._running: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Begin to; whoever is assigned waits for it."""
        self._loading = asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def start(self) -> None:
        await self._log.start()
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let a turn end (cancelled within, state and offset would not fit), then save."""
        self._stopping = True
        self._wake.set()
        if self._running is not None:
            await self._running
        await self.revoked()
        if self._fence is not None:
            self._fence.cancel()
        await self._log.stop()
        self._thread.shutdown()

    async def assigned(self, tps: Iterable[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        """Become the learner: load, claim the epoch, and read on behind what the checkpoint contains."""
        tp = next((tp for tp in tps if tp.topic == self._topics.examples), None)
        if tp is None:
            return {}  # a standby
        self._buffer.clear()
        self._work.clear()
        if self.learner is None:
            await self._begin(tp, committed.get(tp))
        return {tp: self.applied + 1}

    async def revoked(self) -> None:
        """Another may become the learner: leave a checkpoint with all that was learned."""
        self._buffer.clear()
        async with self._lock:
            if self.learner is not None:
                await self._checkpoint()
                await self._saved()
            self.learner = None
            self._unacked.clear()
            self._work.clear()

    async def between(self, ask: Callable[[Learner], T]) -> T | None:
        """What is asked of the learner between two turns; None of a standby."""
        async with self._lock:
            if self.learner is None:
                return None
            return await asyncio.get_running_loop().run_in_executor(self._thread, ask, self.learner)

    def take(self, event: EventT[Any]) -> None:
        """Buffer a record."""
        if self.learner is not None:
            self._buffer.append(event)
            self._wake.set()

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
                while (self._buffer or self._work) and not self._stopping:
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
            await self._next()
            delta = await asyncio.get_running_loop().run_in_executor(self._thread, self._learn, learner)
        self.turns += 1
        while self._work and self._work[0].done:
            work = self._work.popleft()
            self.applied = work.event.message.offset
            work.event.message.value = None  # kept only to be acknowledged
            self._unacked.append(work.event)
        out = [Out("metrics", 0, b"window", msgspec.json.encode(w)) for w in learner.take_windows()]
        out += [Out("metrics", 0, b"strategy", msgspec.json.encode(v)) for v in learner.take_values()]
        if delta is not None:
            out.insert(0, Out("model_updates", 0, None, messages.encode(delta)))
            self._said_at = time.monotonic()
            self.published += 1
            self.acts += len(delta.arrivals_ms)
        if out:
            await self._publish(out)
        if time.monotonic() - self._saved_at >= self.config.process.checkpoint_every_s:
            await self._checkpoint()

    async def _next(self) -> None:
        """Line up records that were not learned yet."""
        last = self._work[-1].event.message.offset if self._work else self.applied
        while self._buffer and len(self._work) < AHEAD:
            event = self._buffer.popleft()
            message = event.message
            if message.offset <= last:
                self._count("repeated_records")
                self._unacked.append(event)
                continue
            if message.offset != last + 1:
                found = await self._log.anything(self._topics.examples, SOURCE, last + 1, message.offset)
                if found is not None:
                    end(f"{self._topics.examples}: offset {message.offset} came when {last + 1} was due, and {found} is there")
                self._count("empty_offsets", message.offset - last - 1)
            self._work.append(_Work(event))
            last = message.offset

    def _learn(self, learner: Learner) -> Delta | None:
        """In the learning thread: apply for a moment; one delta of all that changed.

        A record that is left half applied is safe in a checkpoint: its source's mark says how far it was.
        """
        until = time.monotonic() + TURN_S
        steps: list[Step] = []
        for work in self._work:
            part = work.part()
            while work.at < len(part.records):
                steps += learner.apply(part.source, part.records[work.at : work.at + SLICE])
                work.at += SLICE
                if time.monotonic() > until:
                    break
            work.done = work.at >= len(part.records)
            if not work.done or time.monotonic() > until:
                break
        strategy_bandit = b""
        if learner.strategy_bandit.version != self._told:
            self._told, strategy_bandit = learner.strategy_bandit.version, learner.strategy_bandit.copy_bytes()
        if not steps:
            version, watermark = learner.version, learner.watermark_ms
            return Delta(self.epoch, version, version, watermark, [], b"", strategy_bandit) if strategy_bandit else None
        now = time.monotonic()
        dense = now - self._dense_at >= self.config.process.dense_every_s
        if dense:
            self._dense_at = now
        self._dense_due = not dense
        touched: dict[str, np.ndarray] = {}
        for name in {n for s in steps for n in s.report.touched}:
            touched[name] = np.unique(np.concatenate([s.report.touched[name] for s in steps if name in s.report.touched]))
        return Delta(
            epoch=self.epoch, first=steps[0].version, version=steps[-1].version, watermark_ms=steps[-1].watermark_ms,
            arrivals_ms=[a for s in steps for a in s.arrivals_ms], rows=learner.trainer.delta(touched, dense),
            strategy_bandit=strategy_bandit,
        )  # fmt: skip

    async def _beat(self) -> None:
        if self.learner is None:
            return
        if self._dense_due:
            self._dense_due = False
            version, watermark = self.learner.version, self.learner.watermark_ms
            rows = self.learner.trainer.delta({}, True)
            delta = Delta(self.epoch, version, version, watermark, [], rows)
            await self._publish([Out("model_updates", 0, None, messages.encode(delta))])
        if time.monotonic() - self._said_at >= BEAT_S:
            self._said_at = time.monotonic()
            await self._publish([Out("model_updates", 0, None, messages.encode(Beat(self.epoch, self.learner.version)))])
        if self._unacked and time.monotonic() - self._saved_at >= self.config.process.checkpoint_every_s:
            await self._checkpoint()

    async def _publish(self, rows: Iterable[Out]) -> None:
        """Begin to, in order; what one turn has to say is on its way at most."""
        await self._published()
        self._on_its_way = await self._delivery.begin(rows)

    async def _published(self) -> None:
        """The broker has what the state has said so far."""
        sent, self._on_its_way = self._on_its_way, []
        for record in await asyncio.gather(*sent):
            if record.topic == self._topics.model_updates:
                self._updates_offset = record.offset + 1

    async def _checkpoint(self) -> None:
        """Copy all state (while nothing learns), save it beside further learning, then acknowledge what it contains."""
        await self._saved()
        await self._published()
        learner = self.learner
        if learner is None:
            return
        snapshot = await asyncio.get_running_loop().run_in_executor(self._thread, self._copy, learner)
        events, self._unacked = self._unacked, deque()
        self._saved_at = time.monotonic()
        self._saving = asyncio.create_task(self._save(snapshot, events))

    async def _save(self, snapshot: _Snapshot, events: Iterable[EventT[Any]]) -> None:
        try:
            with self._watchdog.busy("checkpoint"):
                p = self.config.process
                await asyncio.to_thread(_write, Path(p.checkpoint_dir), snapshot, self._conditions(), p.keep)
            self.checkpoints += 1
            for event in events:
                event.ack()
        except Exception as error:  # noqa: BLE001 - without durability there is no acknowledgement, and no going on
            end(f"saving checkpoint {snapshot.name} failed", error)

    async def _saved(self) -> None:
        if self._saving is not None:
            await self._saving
            self._saving = None

    def _copy(self, learner: Learner) -> _Snapshot:
        meta = learner.meta() | {"epoch": self.epoch, "offset": self.applied, "updates_offset": self._updates_offset}
        return _Snapshot(checkpoint.name_of(self.epoch, self.applied + 1), learner.arrays(), meta)

    async def _begin(self, tp: TP, committed: int | None) -> None:
        loop = asyncio.get_running_loop()
        loading, self._loading = self._loading, None
        learner, base, self.applied = await (loading or loop.run_in_executor(self._thread, self._load))
        newest = checkpoint.names(Path(self.config.process.checkpoint_dir))
        if base != (newest[-1] if newest else ""):  # a standby's: another learner has gone on since
            learner, base, self.applied = await loop.run_in_executor(self._thread, self._load)
        first, after = await self._log.bounds(tp.topic, tp.partition)
        at = self.applied + 1
        if at > after:
            raise LearnerError(
                f"the checkpoint is at offset {self.applied:,} of {tp.topic}, which ends at {after:,}: it is another topic; "
                f"move {self.config.process.checkpoint_dir} away to begin anew"
            )
        if at < first:
            if not base and not committed:
                log.warning("%s begins at offset %d: what was before is not learned", tp.topic, first)
            elif not self.config.process.accept_loss:
                raise LearnerError(
                    f"{tp.topic}: offsets {at:,} to {first - 1:,} are lost: the state needs them, the topic no longer has them; "
                    "restore a newer checkpoint, or go on without them by --accept-loss"
                )
            self.applied = first - 1
        claim = Claim(base, learner.version, f"{socket.gethostname()}:{os.getpid()}")
        self.epoch = await self._delivery.append(Out("model_updates", 0, None, messages.encode(claim)))
        self._updates_offset = self.epoch + 1
        self.learner, self._told = learner, learner.strategy_bandit.version
        if not base:
            await self._checkpoint()  # what copies begin with
            await self._saved()
        self._saved_at = time.monotonic()
        self._fence = asyncio.create_task(
            Reader(self.config.topics.bootstrap, self._topics.model_updates, 1, self._watch, {0: self.epoch + 1}).run()
        )

    def _load(self) -> tuple[Learner, str, int]:
        from online_model import devices
        from online_model.trainer import Trainer

        p = self.config.process
        devices.use_threads(p.threads)
        trainer = Trainer(self.config.model, devices.chosen(p.device))
        strategy_bandit = StrategyBandit(self.config.arms, self.config.bandit)
        learner = Learner(self.config.learner, trainer, strategy_bandit, self.config.topics.partitions)
        found = checkpoint.load_newest(Path(p.checkpoint_dir))
        if found is None:
            return learner, "", -1
        for refused in found.refused:
            log.warning("a newer checkpoint was passed over: %s", refused)
        for line in checkpoint.differences(found.conditions, self._conditions(), ("settings.model", *self._meant(found))):
            log.warning("the checkpoint was made under other conditions: %s", line)
        learner.load(found.arrays, found.meta)
        return learner, found.name, int(found.meta["offset"])

    def _meant(self, found: checkpoint.Checkpoint) -> list[str]:
        """Settings without which posteriors that have learned mean nothing: units of rewards, and what presets are."""
        strategy_bandit = found.meta.get("posteriors", {}).get("choosing", {})
        if not any(of["learned"] for of in strategy_bandit.get("counted", {}).values()):
            return []
        out = ["settings.bandit.arms", "settings.bandit.revenue_most"]
        if "partition" in found.conditions.settings:  # earlier builds did not write them down
            out.append("settings.partition.reward")
            if strategy_bandit["counted"].get("list", {}).get("learned"):
                out += [f"settings.recommend.presets.{name}" for name in strategy_bandit["learned"]["list"]["names"]]
        return out

    def _conditions(self) -> Conditions:
        from online_model import devices

        c = self.config
        return Conditions(
            versions=checkpoint.versions(), device=devices.chosen(c.process.device), threads=c.process.threads,
            settings={name: msgspec.to_builtins(getattr(c, name)) for name in ("model", "learner", "bandit", "arms")}
            | {"partition": {"reward": msgspec.to_builtins(c.reward)}, "recommend": {"presets": msgspec.to_builtins(c.presets)}},
        )  # fmt: skip

    async def _watch(self, records: list[Any]) -> None:
        """A higher claim than ours ends this process: another learner was promoted."""
        for record in records:
            update = messages.update(record.value)
            if isinstance(update, Claim) and record.offset > self.epoch:
                end(f"another learner ({update.writer}) claimed epoch {record.offset}, ours is {self.epoch}")

    def _count(self, what: str, n: int = 1) -> None:
        self.counted[what] = self.counted.get(what, 0) + n
