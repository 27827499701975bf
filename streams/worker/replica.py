"""From the learner to the copies that answer: versions of the model as records, and a copy that follows them.

An epoch is one learner's reign: the offset of its claim. A copy begins with the newest checkpoint, takes each delta
that follows its version, and begins anew when an epoch ends or a delta is missing.
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
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.surfaces import by_default
from streams.kafka_io import messages
from streams.kafka_io.messages import Beat, Claim, Delta
from streams.kafka_io.reader import Reader
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import end

if TYPE_CHECKING:  # a worker takes in events before torch is there
    from online_model.attended import Attended
    from online_model.batch import Batch
    from online_model.checkpoint import Checkpoint
    from online_model.model_settings import ModelSettings
    from online_model.trainer import Prediction, Trainer

SAMPLES = 20_000  # of freshness kept, for percentiles of the last minutes
TOGETHER = 16  # deltas applied in one go at most: who asks for a list waits for no more of them
RETRY_S = 0.5  # before a checkpoint that should be there is looked for again

log = logging.getLogger(__name__)


class ReplicaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The copy of the model that answers."""

    checkpoint_dir: str = "run/checkpoints"  # where the learner writes; workers read it
    stale_after_s: float = 10.0  # without a word from the learner: answers are flagged from here on
    threads: int = 1  # of torch in the worker: the cores are taken by the events


class Replica:
    """The model of one worker. Until the first checkpoint has been read, `version` is None and there is no prediction."""

    def __init__(
        self, topics: TopicSettings, settings: ReplicaSettings, model: ModelSettings, device: str = "cpu", thread: Executor | None = None,
        arms: Mapping[str, Sequence[str]] | None = None, bandit: BanditSettings | None = None,
    ) -> None:  # fmt: skip
        """`thread`: where versions are applied; given the one that asks for predictions, none changes between two of them.

        `arms`, `bandit`: what is chosen among, and by what; the learner's own.
        """
        self._thread = thread
        self._arms = arms or by_default()
        self._bandit = msgspec.structs.replace(bandit or BanditSettings(), alarm=0.0)  # drift is seen where there are rewards
        self._choosing: StrategyBandit | None = None
        self._topics, self._settings, self._model, self._device = topics, settings, model, device
        self._trainer: Trainer | None = None
        self._lock = threading.Lock()
        self._heard_at = time.monotonic()
        self._behind = False  # a delta is missing: wait for a checkpoint that has it
        self.epoch = -1
        self.version: int | None = None
        self.watermark_ms = -1
        self.loads = 0
        self.applied = 0
        self.freshness_ms: deque[int] = deque(maxlen=SAMPLES)  # broker append of an act -> a version with it answers here
        self.measured = 0  # acts so far, those too that are no longer among the samples
        self.ready = asyncio.Event()

    @property
    def age_ms(self) -> int:
        """Since the learner was last heard of."""
        return int((time.monotonic() - self._heard_at) * 1000)

    @property
    def stale(self) -> bool:
        """Answers should say so."""
        return self._behind or self.age_ms > self._settings.stale_after_s * 1000

    def predict(self, batch: Batch, gamma_user: float = 0.0, gamma_item: float = 0.0) -> Prediction:
        """As `Trainer.predict`, by `version`; may be called from another thread."""
        with self._lock:
            return self._there().predict(batch, gamma_user, gamma_item)

    @property
    def strategy_bandit(self) -> StrategyBandit:
        """What chooses among strategies, by what was learned with `version`; before that, with equal chances.

        It changes where versions are applied: ask it there, too.
        """
        with self._lock:
            if self._choosing is None:
                self._choosing = StrategyBandit(self._arms, self._bandit)
            return self._choosing

    def attended(self, batch: Batch) -> Attended:
        """Which behaviours the attention looks at, by `version`; may be called from another thread."""
        from online_model.attended import attended

        with self._lock:
            return attended(self._there(), batch)

    def user_vector(self, batch: Batch) -> np.ndarray:
        """What the ranker knows of users, by `version`; may be called from another thread."""
        from online_model.user_vector import user_vector

        with self._lock:
            return user_vector(self._there(), batch)

    def _there(self) -> Trainer:
        if self._trainer is None:
            raise ValueError("no model yet: look at `version` first")
        return self._trainer

    async def run(self) -> None:
        """Load, then follow, for ever."""
        try:
            offset = await self._load()
            reader = Reader(self._topics.bootstrap, names(self._topics.prefix).model_updates, 1, self._take, {0: offset})
            await reader.run()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a copy that stops unnoticed would answer with an old model
            end("following the model failed", error)

    async def _take(self, records: list[ConsumerRecord]) -> None:
        """What came together is applied together: each time that is waited for until a list or a page is made."""
        due: list[Delta] = []
        for record in records:
            update = messages.update(record.value)
            self._heard_at = time.monotonic()
            match update:
                case Claim():
                    await self._follow(due)
                    self.epoch = max(self.epoch, record.offset)
                    await self._load(update.base)
                case Beat():
                    pass
                case Delta() if update.epoch == self.epoch:
                    if await self._fits(update, due):
                        due.append(update)
                    if len(due) >= TOGETHER:
                        await self._follow(due)
                case Delta():
                    pass  # of a learner that has been replaced, or of a later reign than the one that is being read
        await self._follow(due)

    async def _fits(self, delta: Delta, due: list[Delta]) -> bool:
        """Whether it goes on from what this copy will be, with those that are due; if need be a checkpoint is loaded."""
        if self._missing(delta, due):
            await self._follow(due)
            await self._load()
            if self._missing(delta, due):
                self._behind = True
                return False
        self._behind = False
        return delta.version >= self._coming(due)

    def _missing(self, delta: Delta, due: list[Delta]) -> bool:
        return self.version is None or delta.first > self._coming(due) + 1

    def _coming(self, due: list[Delta]) -> int:
        """The version once what is due is applied."""
        return due[-1].version if due else self.version or 0

    async def _follow(self, due: list[Delta]) -> None:
        """Apply what is due; nothing is, then."""
        if not due:
            return
        await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, tuple(due))
        self.applied += len(due)
        now = int(time.time() * 1000)
        arrivals = [arrival for delta in due for arrival in delta.arrivals_ms]
        self.freshness_ms.extend([now - arrival for arrival in arrivals])
        self.measured += len(arrivals)
        due.clear()

    def _apply(self, deltas: Sequence[Delta]) -> None:
        with self._lock:
            for delta in deltas:
                if self._trainer is not None and delta.rows:
                    self._trainer.apply_delta(delta.rows)
                if self._choosing is not None and delta.strategy_bandit:
                    self._choosing.load_copy(delta.strategy_bandit)
                self.version, self.watermark_ms = delta.version, delta.watermark_ms

    async def _load(self, base: str | None = None) -> int:
        """Take the newest checkpoint (`base`: or a later one); where model-updates go on from it."""
        while True:
            found = await asyncio.to_thread(self._read)
            if found is not None and (base is None or found[1].name >= base):
                meta = found[1].meta
                await asyncio.get_running_loop().run_in_executor(self._thread, self._begin, found[0], found[2], meta)
                if self.epoch < 0:
                    self.epoch = int(meta["epoch"])
                self.loads += 1
                self.ready.set()
                return int(meta["updates_offset"])
            await asyncio.sleep(RETRY_S)

    def _begin(self, trainer: Trainer, strategy_bandit: StrategyBandit, meta: Mapping[str, Any]) -> None:
        with self._lock:
            self._choosing = strategy_bandit
            self._trainer, self.version, self.watermark_ms = trainer, int(meta["version"]), int(meta["watermark_ms"])

    def _read(self) -> tuple[Trainer, Checkpoint, StrategyBandit] | None:
        root = Path(self._settings.checkpoint_dir)
        if not checkpoint.names(root):
            return None
        from online_model import devices
        from online_model.trainer import Trainer

        devices.use_threads(self._settings.threads)
        found = checkpoint.load_newest(root)
        if found is None:
            return None
        trainer = Trainer(self._model, self._device)
        trainer.load({n[8:]: a for n, a in found.arrays.items() if n.startswith("trainer.")}, found.meta["trainer"])
        strategy_bandit = StrategyBandit(self._arms, self._bandit)
        if "posteriors" in found.meta:
            policies = {n[18:]: a for n, a in found.arrays.items() if n.startswith("posteriors.policy.")}
            strategy_bandit.load(policies, found.meta["posteriors"]["choosing"])
        return trainer, found, strategy_bandit


def percentile(values: Sequence[int], share: float) -> float | None:
    """The value below which `share` of the values lie; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return float(ordered[min(len(ordered) - 1, int(share * len(ordered)))])
