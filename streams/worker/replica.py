"""The replica of the model that a worker serves from: the newest checkpoint, and the deltas of `model-updates` that follow it.

An epoch is one learner's reign, numbered by the offset of its claim. A replica begins with the newest checkpoint, applies
each delta that follows its version, and loads a checkpoint again when an epoch ends or a delta is missing.
"""
from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from aiokafka.structs import ConsumerRecord

from bandit.settings import BanditSettings
from online_model import checkpoint
from streams.clock import now_ms
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.surfaces import by_default
from streams.kafka_io import messages
from streams.kafka_io.messages import Beat, Claim, Delta
from streams.kafka_io.own_records import OwnRecords
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import NeedsOperator, end
from streams.worker.settings import ReplicaSettings

if TYPE_CHECKING:  # a worker takes in events before torch is there
    from online_model.attended import Attended
    from online_model.batch import Batch
    from online_model.checkpoint import Checkpoint
    from online_model.model_settings import ModelSettings
    from online_model.trainer import Prediction, Trainer
    from online_model.two_tower import TwoTower

SAMPLES = 20_000  # of freshness kept, for percentiles of the last minutes
TOGETHER = 16  # deltas applied in one go at most: a request for a slate waits for no more of them
RETRY_S = 0.5  # before a checkpoint that should be there is looked for again

log = logging.getLogger(__name__)


class Replica:
    """The model of one worker. Until the first checkpoint has been read, `version` is None and there is no prediction."""

    def __init__(
        self, topics: TopicSettings, settings: ReplicaSettings, model: ModelSettings, device: str = "cpu", thread: Executor | None = None,
        arms: Mapping[str, Sequence[str]] | None = None, bandit: BanditSettings | None = None,
    ) -> None:  # fmt: skip
        """`thread`: where versions are applied; if predictions are made there too, none changes between two of them.

        `arms`, `bandit`: strategies to choose among, by surface, and how; those of the learner.
        """
        self._thread = thread
        self._arms = arms or by_default()
        bandit = bandit or BanditSettings()
        self._conditions = {"bandit": msgspec.to_builtins(bandit), "arms": {s: list(names) for s, names in self._arms.items()}}
        self._bandit = msgspec.structs.replace(bandit, alarm=0.0)  # the learner detects drift: it has the rewards
        self._strategy_bandit: StrategyBandit | None = None
        self.own = OwnRecords(topics, "model_updates", messages.update, "worker")
        self._topics, self._settings, self._model, self._device = topics, settings, model, device
        self._trainer: Trainer | None = None
        self._lock = threading.Lock()
        self._update_at = time.monotonic()
        self._behind = False  # a delta is missing: wait for a checkpoint that has it
        self.epoch = -1
        self.version: int | None = None
        self.watermark_ms = -1
        self.loads = 0
        self.applied = 0
        self.freshness_ms: deque[int] = deque(
            maxlen=SAMPLES
        )  # from the broker's append of a feedback to a version here that learned from it
        self.measured = 0  # samples so far, those too that are no longer kept
        self.ready = asyncio.Event()

    @property
    def age_ms(self) -> int:
        """Milliseconds since the newest record from the learner."""
        return int((time.monotonic() - self._update_at) * 1000)

    @property
    def stale(self) -> bool:
        """Whether slates should be flagged as stale: a delta is missing, or the learner has been silent for `stale_after_s`."""
        return self._behind or self.age_ms > self._settings.stale_after_s * 1000

    def predict(self, batch: Batch, gamma_user: float = 0.0, gamma_item: float = 0.0) -> Prediction:
        """As `Trainer.predict`, by `version`; may be called from another thread."""
        with self._lock:
            return self._loaded().predict(batch, gamma_user, gamma_item)

    @property
    def strategy_bandit(self) -> StrategyBandit:
        """The bandit as of `version`; before a model, with equal propensities. It changes where versions are applied: use it there."""
        with self._lock:
            if self._strategy_bandit is None:
                self._strategy_bandit = StrategyBandit(self._arms, self._bandit)
            return self._strategy_bandit

    def attended(self, batch: Batch) -> Attended:
        """Attention weights of the history, by `version`; may be called from another thread."""
        from online_model.attended import attended

        with self._lock:
            return attended(self._loaded().state, batch)

    def user_vector(self, batch: Batch) -> np.ndarray:
        """The ranker's vectors of users, by `version`; may be called from another thread."""
        from online_model.user_vector import user_vector

        with self._lock:
            return user_vector(self._loaded().state, batch)

    @property
    def vectors(self) -> TwoTower | None:
        """Those of users and items, as of `version`; None where there are none. They change where versions are applied: use them there."""
        with self._lock:
            return self._trainer.state.towers if self._trainer else None

    def _loaded(self) -> Trainer:
        if self._trainer is None:
            raise ValueError("no model yet: look at `version` first")
        return self._trainer

    async def run(self) -> None:
        """Load, then follow, for ever."""
        try:
            offset = await self._load()
            reader = Reader(self._topics.bootstrap, names(self._topics.prefix).model_updates, 1, self._handle, {0: offset})
            await reader.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a replica that stops unnoticed would serve an old model
            end("following the model failed", error)

    async def _handle(self, records: list[ConsumerRecord]) -> None:
        """Apply deltas that came together in one go: a slate or a page that is being made delays each go."""
        due: list[Delta] = []
        for record in records:
            update = await self.own.read(record)
            if update is None:
                continue
            self._update_at = time.monotonic()
            match update:
                case Claim():
                    await self._apply_due(due)
                    self.epoch = max(self.epoch, record.offset)
                    await self._load(update.base)
                case Beat():
                    pass
                case Delta() if update.epoch == self.epoch:
                    if await self._fits(update, due):
                        due.append(update)
                    if len(due) >= TOGETHER:
                        await self._apply_due(due)
                case Delta():
                    pass  # of a learner that was replaced, or of an epoch whose claim was not read yet
        await self._apply_due(due)

    async def _fits(self, delta: Delta, due: list[Delta]) -> bool:
        """Whether the delta follows the version that this replica has once `due` is applied; if need be a checkpoint is loaded."""
        if self._missing(delta, due):
            await self._apply_due(due)
            await self._load()
            if self._missing(delta, due):
                self._behind = True
                return False
        self._behind = False
        return delta.version >= self._due_version(due)

    def _missing(self, delta: Delta, due: list[Delta]) -> bool:
        return self.version is None or delta.first > self._due_version(due) + 1

    def _due_version(self, due: list[Delta]) -> int:
        """The version once what is due is applied."""
        return due[-1].version if due else self.version or 0

    async def _apply_due(self, due: list[Delta]) -> None:
        """Apply the deltas of `due`, and empty it."""
        if not due:
            return
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, tuple(due))
        self.applied += len(due)
        now = now_ms()
        arrivals = [arrival for delta in due for arrival in delta.arrivals_ms]
        self.freshness_ms.extend([now - arrival for arrival in arrivals])
        self.measured += len(arrivals)
        due.clear()

    def _apply(self, deltas: Sequence[Delta]) -> None:
        with self._lock:
            for delta in deltas:
                if self._trainer is not None and delta.rows:
                    self._trainer.apply_delta(delta.rows)
                if self._strategy_bandit is not None and delta.strategy_bandit:
                    self._strategy_bandit.load_copy(delta.strategy_bandit)
                self.version, self.watermark_ms = delta.version, delta.watermark_ms

    async def _load(self, base: str | None = None) -> int:
        """Load the newest checkpoint (`base`: at least as new as this one); return where model-updates go on from it."""
        while True:
            read = await asyncio.to_thread(self._read)
            if read is not None and (base is None or read[1].name >= base):
                trainer, newest, strategy_bandit = read
                meta = newest.meta
                await asyncio.get_running_loop().run_in_executor(self._thread, self._replace, trainer, strategy_bandit, meta)
                if self.epoch < 0:
                    self.epoch = int(meta["epoch"])
                self.loads += 1
                self.ready.set()
                return int(meta["updates_offset"])
            await asyncio.sleep(RETRY_S)

    def _replace(self, trainer: Trainer, strategy_bandit: StrategyBandit, meta: Mapping[str, Any]) -> None:
        with self._lock:
            self._strategy_bandit = strategy_bandit
            self._trainer, self.version, self.watermark_ms = trainer, int(meta["version"]), int(meta["watermark_ms"])

    def _read(self) -> tuple[Trainer, Checkpoint, StrategyBandit] | None:
        """Raises NeedsOperator where the newest checkpoint does not fit the settings of this process."""
        root = Path(self._settings.checkpoint_dir)
        if not checkpoint.names(root):
            return None
        from online_model import devices
        from online_model.trainer import Trainer

        devices.use_threads(self._settings.threads)
        trainer, strategy_bandit = Trainer(self._model, self._device), StrategyBandit(self._arms, self._bandit)
        try:
            newest = checkpoint.load_newest(root)
            if newest is None:
                return None
            trainer.load(newest.under("trainer."), newest.meta["trainer"])
            if "posteriors" in newest.meta:
                strategy_bandit.load(newest.under("posteriors.policy."), newest.meta["posteriors"]["choosing"])
        except ValueError as error:
            way = "give worker and learner the same settings (replica.checkpoint_dir is where the learner writes)"
            raise NeedsOperator(f"{error} (checkpoints in {root}); {way}") from error
        self._warn_of_differences(newest)
        return trainer, newest, strategy_bandit

    def _warn_of_differences(self, newest: Checkpoint) -> None:
        """Name the options of the bandit that the learner has otherwise: strategies are drawn here, by other options than it learns by."""
        recorded = newest.conditions.settings
        if "bandit" not in recorded:
            return
        theirs = {name: recorded.get(name) for name in self._conditions}
        for line in checkpoint.changes(theirs, self._conditions, {"bandit": msgspec.to_builtins(BanditSettings())}).values():
            log.warning("%s was made by a learner with other settings than this worker's: %s", newest.path, line)
