"""Checkpoints of the learner: loaded at the start, written beside further learning, and only then acknowledged to Kafka."""
from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from faust.types import EventT

from online_model import checkpoint
from online_model.checkpoint import Checkpoint, Conditions, Corrupt
from online_model.model_settings import recorded
from streams.core.learning.learn import Learner
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.learner.settings import LearningSettings
from streams.watchdog import NeedsOperator, Watchdog, end

log = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A learner as the newest checkpoint has it, or a new one."""

    learner: Learner
    base: str  # name of the checkpoint; "" for a new learner
    offset: int  # in `examples`, of the last record that the state contains; -1: none


class Snapshot(NamedTuple):
    """All state at one offset, apart from the learner, which goes on."""

    name: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


class Checkpointing:
    """The checkpoints of one learner. `load` and `snapshot` run in the thread that learns."""

    def __init__(self, config: LearningSettings, watchdog: Watchdog) -> None:
        self.root = Path(config.process.checkpoint_dir)
        self.written = 0
        self._config, self._watchdog = config, watchdog
        self._started_at = time.monotonic()
        self._writing: asyncio.Task[None] | None = None

    @property
    def due(self) -> bool:
        """Whether the newest checkpoint is old enough for another."""
        return time.monotonic() - self._started_at >= self._config.process.checkpoint_every_s

    def newest(self) -> str:
        """The name of the newest checkpoint on disk; "" where there is none."""
        return next(reversed(checkpoint.names(self.root)), "")

    def load(self) -> Loaded:
        """The learner of the newest checkpoint that can be read, or a new one.

        Raises NeedsOperator where no checkpoint can be read, where it was made under settings that give what was learned another
        meaning, and where torch doesn't have the device.
        """
        from online_model import devices
        from online_model.trainer import Trainer

        c = self._config
        devices.use_threads(c.process.threads)
        try:
            trainer = Trainer(c.model, devices.chosen(c.process.device))
        except ValueError as error:
            raise NeedsOperator(f"learner_process.device: {error}") from error
        learner = Learner(c.learner, trainer, StrategyBandit(c.arms, c.bandit), c.topics.partitions)
        try:
            newest = checkpoint.load_newest(self.root)
            if newest is None:
                return Loaded(learner, "", -1)
            self._load(learner, newest)
        except (Corrupt, ValueError) as error:
            raise NeedsOperator(f"{error} (checkpoints in {self.root}; to start anew, move them away)") from error
        return Loaded(learner, newest.name, int(newest.meta["offset"]))

    def _load(self, learner: Learner, newest: Checkpoint) -> None:
        """Raises ValueError (Incompatible where it is known before) where the learner can't go on from what was saved."""
        for refused in newest.refused:
            log.warning("a newer checkpoint was passed over: %s", refused)
        fixed, defaults = ("settings.model", *_fixed_settings(newest)), _settings(LearningSettings())
        for line in checkpoint.differences(newest.conditions, self.conditions(), fixed, defaults):
            log.warning("the checkpoint was made under other conditions: %s", line)
        _forget_redefined(newest, msgspec.to_builtins(self._config.presets))
        learner.load(newest.arrays, newest.meta)

    def snapshot(self, learner: Learner, epoch: int, offset: int, updates_offset: int) -> Snapshot:
        """Copy all state. `offset`: of the last record of `examples` in it; `updates_offset`: where model-updates go on from it."""
        meta = learner.meta() | {"epoch": epoch, "offset": offset, "updates_offset": updates_offset}
        return Snapshot(checkpoint.name_of(epoch, offset + 1), learner.arrays(), meta)

    def start_writing(self, snapshot: Snapshot, events: Iterable[EventT[Any]]) -> None:
        """Write a snapshot beside what goes on, then acknowledge the events that it contains. The one before must be settled."""
        self.restart_clock()
        self._writing = asyncio.create_task(self._write_and_acknowledge(snapshot, events))

    async def settle(self) -> None:
        """Wait until what is being written is on disk and acknowledged."""
        if self._writing is not None:
            await self._writing
            self._writing = None

    def restart_clock(self) -> None:
        """Count the time to the next checkpoint from now."""
        self._started_at = time.monotonic()

    def write(self, snapshot: Snapshot) -> None:
        """Write a snapshot durably; older checkpoints beyond `keep` go."""
        checkpoint.save(self.root, snapshot.name, snapshot.arrays, snapshot.meta, self.conditions(), self._config.process.keep)

    def conditions(self) -> Conditions:
        """What the meaning and the bytes of a checkpoint depend on."""
        from online_model import devices

        c = self._config
        return Conditions(
            versions=checkpoint.versions(), device=devices.chosen(c.process.device), threads=c.process.threads, settings=_settings(c)
        )  # fmt: skip

    async def _write_and_acknowledge(self, snapshot: Snapshot, events: Iterable[EventT[Any]]) -> None:
        try:
            with self._watchdog.busy("checkpoint"):
                await asyncio.to_thread(self.write, snapshot)
            self.written += 1
            for event in events:
                event.ack()
        except Exception as error:  # noqa: BLE001 - without durability there is no acknowledgement, and no going on
            end(f"saving checkpoint {snapshot.name} failed", error)


def _settings(c: LearningSettings) -> dict[str, Any]:
    """What the meaning and the bytes of a checkpoint depend on, by the keys of the settings."""
    return {
        "model": recorded(c.model), **{name: msgspec.to_builtins(getattr(c, name)) for name in ("learner", "bandit", "arms")},
        "partition": {"reward": msgspec.to_builtins(c.reward)}, "recommend": {"presets": msgspec.to_builtins(c.presets)},
    }  # fmt: skip


def _fixed_settings(newest: Checkpoint) -> list[str]:
    """Settings without which posteriors that have learned mean nothing: units of rewards, and the presets of strategies."""
    strategy_bandit = newest.meta.get("posteriors", {}).get("choosing", {})
    if not any(of["learned"] for of in strategy_bandit.get("counted", {}).values()):
        return []
    out = ["settings.bandit.arms", "settings.bandit.revenue_most"]
    if "partition" in newest.conditions.settings:  # earlier builds did not write them down
        out.append("settings.partition.reward")
        if strategy_bandit["counted"].get("list", {}).get("learned"):
            out += [f"settings.recommend.presets.{name}" for name in strategy_bandit["learned"]["list"]["names"]]
    return out


def _forget_redefined(newest: Checkpoint, presets: Mapping[str, Any]) -> None:
    """Retired strategies whose preset is another one now: their rounds are over."""
    before = newest.conditions.settings.get("recommend", {}).get("presets", {})
    learned = newest.meta.get("posteriors", {}).get("choosing", {}).get("learned", {})
    retired = learned.get("list", {}).get("retired", {})
    retired |= {name: sys.maxsize for name in retired if before.get(name) != presets.get(name)}
