"""q̂ by the ranker itself, prequential: before an exposed item is learned from, what every arm of the policy would earn in its place.

The log runs through the code that runs live. Just before a record that exposes something is applied, the parameters as they stand score,
for each of its places, the logged arm and all arms that the policy may draw there, with the features that serving would make.
Shapes: N rounds, K kinds of probabilities of the logged arms.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from online_model import devices
from online_model.batch import of_candidates
from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay import prequential
from replay.evidence.holdout import featured, stopping
from replay.log_rows import LogError
from replay.off_policy.log_pass import core_partition
from replay.off_policy.policies import LoggedProbabilities, TargetPolicy
from replay.off_policy.rounds import Rounds
from replay.prequential import Numbered
from streams.core.join.events import Event, Exposure
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit

Array = np.ndarray

BATCH = 512  # candidates scored at once: more only take memory


@dataclass(frozen=True, slots=True)
class RankerModel:
    """How a log is replayed for q̂."""

    arrivals: Callable[[], Iterable[Numbered]]  # the log, read anew each time
    items: dict[str, Item]
    partition: PartitionSettings
    learner: LearnerSettings
    model: ModelSettings
    threads: int
    progress: Callable[[int, int], None]

    def predicted(
        self, rounds: Rounds, policy: TargetPolicy, kinds: Sequence[LoggedProbabilities], reward: str
    ) -> tuple[Array, Array]:  # fmt: skip
        """q̂ [N] of the logged arms and q̂_π [K, N] by kind of probabilities. Raises LogError for a reward that is no task."""
        if reward not in TASKS:
            raise LogError(f"--q-hat ranker: it predicts {', '.join(TASKS)}, not {reward}; pass --q-hat cross-fitted")
        devices.use_threads(self.threads)
        partition = core_partition(self.partition, self.items.values())
        trainer = Trainer(self.model, "cpu")
        exposing = _exposing(self.arrivals(), rounds)
        scorer = PrequentialScorer(exposing, partition, trainer, rounds, policy, kinds, TASKS.index(reward))
        learner = Learner(self.learner, trainer, default_strategy_bandit())
        numbered = prequential.reported(self.arrivals(), self.progress)
        prequential.run(numbered, partition, learner, closing=True, batches=stopping([scorer]))
        return scorer.q, scorer.q_policy


class ExposingRecord(NamedTuple):
    """A record, and the rounds that it makes."""

    record: Event | Exposure
    rounds: range


class PrequentialScorer:
    """Scores the rounds of each record just before a replay applies it (a `Stop` of replay/evidence/holdout.py)."""

    def __init__(
        self, exposing: Iterator[ExposingRecord], partition: Partition, trainer: Trainer, rounds: Rounds, policy: TargetPolicy,
        kinds: Sequence[LoggedProbabilities], task: int,
    ) -> None:  # fmt: skip
        self._exposing, self._partition, self._trainer, self._task = exposing, partition, trainer, task
        self._rounds, self._policy, self._kinds = rounds, policy, kinds
        self._next = next(exposing, None)
        self._higher: list[dict[int, list[int]]] = [{} for _ in kinds]  # round -> the arms above it in its slate
        for arms, kind in zip(self._higher, kinds, strict=True):
            for lower, higher in kind.pairs:
                for one, other in zip(lower.tolist(), higher.tolist(), strict=True):
                    arms.setdefault(one, []).append(int(rounds.arm[other]))
        self.q, self.q_policy = np.zeros(len(rounds.arm)), np.zeros((len(kinds), len(rounds.arm)))

    def due(self, moment_ms: int) -> bool:
        """Whether a record up to this moment waits for its scores."""
        return self._next is not None and self._next.record.ts <= moment_ms

    def look(self, moment_ms: int) -> None:
        """Score all records up to this moment."""
        while (each := self._next) is not None and each.record.ts <= moment_ms:
            self._score(each)
            self._next = next(self._exposing, None)

    def end(self) -> None:
        """Score what is left."""
        self.look(1 << 62)

    def _score(self, exposing: ExposingRecord) -> None:
        rounds, record = self._rounds, exposing.record
        features_of = featured(self._partition, record.user_id, record.context, record.ts)
        modules: dict[str, str | None] = {}
        for item in record.slots if isinstance(record, Exposure) else ():
            modules.setdefault(item.item_id, item.module)  # positions begin anew in each module
        module = record.module if isinstance(record, Event) else None
        candidates: list[Array] = []
        rows = []
        for n in exposing.rounds:
            arms = np.flatnonzero(self._policy.table[self._policy.context[n]])
            candidates.append(np.append(arms, rounds.arm[n]))
            position = record.position if isinstance(record, Event) else int(rounds.position[n])
            where = modules.get(rounds.arms[rounds.arm[n]], module)
            rows += [features_of(rounds.arms[arm], record.domain, where, position) for arm in candidates[-1].tolist()]
        scores = np.concatenate([
            self._trainer.predict(of_candidates(rows[at : at + BATCH])).probabilities[:, self._task] for at in range(0, len(rows), BATCH)
        ])  # fmt: skip
        ends = np.cumsum([0, *map(len, candidates)]).tolist()
        for n, arms, (start, end) in zip(exposing.rounds, candidates, pairwise(ends), strict=True):
            pi = self._policy.table[self._policy.context[n], arms[:-1]]
            self.q[n] = scores[end - 1]
            for at, (higher, kind) in enumerate(zip(self._higher, self._kinds, strict=True)):
                left = ~np.isin(arms[:-1], higher.get(n, []))
                self.q_policy[at, n] = float((pi * left) @ scores[start : end - 1]) / kind.remaining[n]


def _exposing(arrivals: Iterable[Numbered], rounds: Rounds) -> Iterator[ExposingRecord]:
    """The records that make rounds, in log order."""
    ends = np.searchsorted(rounds.record, np.arange(rounds.record[-1] + 1), "right").tolist() if len(rounds.record) else []
    for (_, arrived), (start, end) in zip(arrivals, pairwise([0, *ends]), strict=False):
        if start < end and isinstance(arrived.record, Event | Exposure):
            yield ExposingRecord(arrived.record, range(start, end))
