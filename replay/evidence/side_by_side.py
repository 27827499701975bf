"""Models side by side over one pass of a log: all see the same exposures with the same features, and learn, or wait, each its own way.

- `Watched`: a trainer that lets others look at a batch before it learns from it, and at what it changed after;
- `LaggedReplica`: a serving copy, to which parameters are published at intervals;
- `ask_gammas`: a model's own predictions with shares of popularity's part taken away;
- `ComparedLearner`: a learner with other settings, fed with the same records.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from online_model.batch import Batch
from online_model.model_settings import ModelSettings
from online_model.trainer import StepReport, Trainer
from replay.evidence.ledger import Ledger
from streams.core.join.records import Outgoing
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit

Array = np.ndarray
Before = Callable[[Batch, int], None]  # a batch, and event time
After = Callable[[StepReport, int], None]


class Watched(Trainer):
    """A trainer that is watched: `before` and `after` see each step and change nothing."""

    def __init__(self, settings: ModelSettings, device: str = "cpu") -> None:
        super().__init__(settings, device)
        self.before: list[Before] = []
        self.after: list[After] = []
        self.watched_s = 0.0  # that others took

    def step(self, batch: Batch, now_ms: int) -> StepReport:
        """A step of the trainer between two looks."""
        began = time.perf_counter()
        for look in self.before:
            look(batch, now_ms)
        middle = time.perf_counter()
        report = super().step(batch, now_ms)
        end = time.perf_counter()
        for note in self.after:
            note(report, now_ms)
        self.watched_s += middle - began + time.perf_counter() - end
        return report

    def copied(self) -> Trainer:
        """Another trainer in the same state."""
        trainer = Trainer(self.settings, str(self.state.device))
        trainer.load(self.arrays(), self.meta())
        return trainer


def note_steps(name: str, trainer: Watched, ledger: Ledger) -> None:
    """Write down what a trainer itself predicts, each exposure before it is learned."""
    batches: list[Batch] = []
    trainer.before.append(lambda batch, now_ms: batches.append(batch))
    trainer.after.append(lambda report, now_ms: ledger.predicted(name, batches.pop(), report))


class LaggedReplica:
    """A serving copy that follows by deltas, published at the first step of each span of event time."""

    def __init__(self, name: str, trainer: Watched, ledger: Ledger, every_ms: int) -> None:
        self._name, self._trainer, self._ledger, self._every_ms = name, trainer, ledger, every_ms
        self._replica = trainer.copied()
        self._touched: dict[str, list[Array]] = {}
        self._due_ms = 0
        trainer.before.append(self._look)
        trainer.after.append(self._note)

    def _look(self, batch: Batch, now_ms: int) -> None:
        if now_ms >= self._due_ms:
            if self._touched:
                touched = {name: np.concatenate(keys) for name, keys in self._touched.items()}
                self._replica.apply_delta(self._trainer.delta(touched, dense=True))
                self._touched.clear()
            self._due_ms = now_ms // self._every_ms * self._every_ms + self._every_ms
        self._ledger.predicted(self._name, batch, self._replica.predict(batch))

    def _note(self, report: StepReport, now_ms: int) -> None:
        for name, keys in report.touched.items():
            self._touched.setdefault(name, []).append(keys)


def ask_gammas(name: str, trainer: Trainer, ledger: Ledger, gammas: Sequence[float], batch: Batch) -> None:
    """Remember what a model predicts with these shares of popularity's part taken away."""
    for gamma in gammas:
        ledger.predicted(gamma_name(name, gamma), batch, trainer.predict(batch, 0.0, gamma))


def gamma_name(name: str, gamma: float) -> str:
    """The name of a model's predictions with a share of popularity's part taken away.

    >>> gamma_name("all on", 0.5)
    'all on, gamma_item 0.5'
    """
    return f"{name}, gamma_item {gamma:g}"


class ComparedLearner:
    """A learner with other settings."""

    def __init__(self, name: str, settings: ModelSettings, learning: LearnerSettings, device: str, ledger: Ledger) -> None:
        self.name, self._ledger = name, ledger
        self.trainer = Watched(settings, device)
        note_steps(name, self.trainer, ledger)
        self.learner = Learner(learning, self.trainer, default_strategy_bandit())
        self._took_s = 0.0

    def apply(self, source: int, records: Sequence[Outgoing]) -> None:
        """Learn from the records of a partition, and count the time that this takes."""
        began = time.perf_counter()
        self.learner.apply(source, records)
        self._took_s += time.perf_counter() - began

    def ask(self, batch: Batch, gammas: Sequence[float] = ()) -> None:
        """Predict without learning; remembered as `NAME, frozen`."""
        self._ledger.predicted(frozen_name(self.name), batch, self.trainer.predict(batch))
        ask_gammas(frozen_name(self.name), self.trainer, self._ledger, gammas, batch)

    @property
    def rate(self) -> float:
        """Examples a second, predicted and learned."""
        return self.learner.counted.get("examples", 0) / max(self._took_s - self.trainer.watched_s, 1e-9)


def frozen_name(name: str) -> str:
    """The name of what a model predicts without learning."""
    return f"{name}, frozen"
