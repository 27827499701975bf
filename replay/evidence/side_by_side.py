"""Models side by side over one pass of a log: all see the same exposures with the same features, and learn, or wait, each its own way.

- `ComparedLearner`: a learner with other settings, fed with the same records, that lets others look at what it predicts and changes;
- `LaggedReplica`: a serving copy, to which parameters are published at intervals;
- `ask_gammas`: a model's own predictions with shares of popularity's part taken away.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import ParamSpec

import numpy as np

from online_model.batch import Batch
from online_model.model_settings import ModelSettings
from online_model.trainer import Prediction, StepReport, Trainer
from replay.evidence.ledger import Ledger
from streams.core.join.records import Outgoing
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit

Array = np.ndarray
P = ParamSpec("P")


class LaggedReplica:
    """A serving copy that follows by deltas, published before the first prediction of each span of event time."""

    def __init__(self, name: str, original: ComparedLearner, ledger: Ledger, every_ms: int) -> None:
        self._name, self._trainer, self._ledger, self._every_ms = name, original.trainer, ledger, every_ms
        self._replica = Trainer(self._trainer.settings, str(self._trainer.state.device))
        self._replica.load(self._trainer.arrays(), self._trainer.meta())
        self._touched: dict[str, list[Array]] = {}
        self._due_ms = 0
        original.before(self._look)
        original.after(self._note)

    def _look(self, batch: Batch, now_ms: int) -> None:
        if now_ms >= self._due_ms:
            if self._touched:
                touched = {name: np.concatenate(keys) for name, keys in self._touched.items()}
                self._replica.apply_delta(self._trainer.delta(touched, dense=True))
                self._touched.clear()
            self._due_ms = now_ms // self._every_ms * self._every_ms + self._every_ms
        self._ledger.predicted(self._name, batch, self._replica.predict(batch))

    def _note(self, batch: Batch, made: Prediction | StepReport, now_ms: int) -> None:
        for name, keys in made.touched.items() if isinstance(made, StepReport) else ():
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
        self.trainer = Trainer(settings, device)
        self.learner = Learner(learning, self.trainer, default_strategy_bandit())
        self.watched_s = 0.0  # that others took
        self._took_s = 0.0
        self.note(name)

    def before(self, look: Callable[[Batch, int], None]) -> None:
        """Let `look` see each batch before exposures are predicted, and event time."""
        self.learner.before_prediction.append(self._timed(look))

    def after(self, look: Callable[[Batch, Prediction | StepReport, int], None]) -> None:
        """Let `look` see what was predicted, and what a step changed."""
        self.learner.after_prediction.append(self._timed(look))

    def note(self, name: str) -> None:
        """Write its own predictions down under a name."""
        self.after(lambda batch, made, now_ms: self._ledger.predicted(name, batch, made))

    def _timed(self, look: Callable[P, None]) -> Callable[P, None]:
        def timed(*args: P.args, **kwargs: P.kwargs) -> None:
            began = time.perf_counter()
            look(*args, **kwargs)
            self.watched_s += time.perf_counter() - began

        return timed

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
        return self.learner.counted.get("examples", 0) / max(self._took_s - self.watched_s, 1e-9)


def frozen_name(name: str) -> str:
    """The name of what a model predicts without learning."""
    return f"{name}, frozen"
