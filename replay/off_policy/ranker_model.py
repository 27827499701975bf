"""q̂ by the ranker itself, prequential: before a shown item is learned from, what every arm of the policy would earn in its place.

The log runs through the very code that runs live; just before a record that shows something is applied, the parameters as they stand
score, for each of its places, the arm that was logged and all that the policy may choose there, with the features that serving would make.
Shapes: N rounds, W ways to go down a list.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from replay.log_rows import LogError, LogRow
from replay.off_policy.policies import Chances, Down
from replay.off_policy.rounds import Reader, Rounds
from streams.core.join.catalog import Catalog
from streams.core.join.decode import decode
from streams.core.join.events import Event, Exposure
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables

Array = np.ndarray

MOST = 512  # candidates scored at once: more only take memory


class Shown(NamedTuple):
    """A record, and the rounds that it makes."""

    record: Event | Exposure
    rounds: range


class RankerQuestions:
    """Looks at a log's rounds one record ahead of its replay."""

    def __init__(
        self, shown: Iterator[Shown], machine: Partition, trainer: Trainer, rounds: Rounds, policy: Chances, ways: Sequence[Down],
        task: int,
    ) -> None:  # fmt: skip
        self._shown, self._machine, self._trainer, self._task = shown, machine, trainer, task
        self._rounds, self._policy, self._ways = rounds, policy, ways
        self._next = next(shown, None)
        self._above: list[dict[int, list[int]]] = [{} for _ in ways]
        for gone, way in zip(self._above, ways, strict=True):
            for below, above in way.above:
                for one, other in zip(below.tolist(), above.tolist(), strict=True):
                    gone.setdefault(one, []).append(int(rounds.arm[other]))
        self.q, self.q_policy = np.zeros(len(rounds.arm)), np.zeros((len(ways), len(rounds.arm)))

    def due(self, moment_ms: int) -> bool:
        return self._next is not None and self._next.record.ts <= moment_ms

    def look(self, moment_ms: int) -> None:
        while (shown := self._next) is not None and shown.record.ts <= moment_ms:
            self._score(shown)
            self._next = next(self._shown, None)

    def end(self) -> None:
        self.look(1 << 62)

    def _score(self, shown: Shown) -> None:
        rounds, record = self._rounds, shown.record
        make = featured(self._machine, record.user_id, record.context, record.ts)
        modules: dict[str, str | None] = {}
        for slot in record.slots if isinstance(record, Exposure) else ():
            modules.setdefault(slot.item_id, slot.module)  # positions begin anew in each module
        module = record.module if isinstance(record, Event) else None
        asked: list[Array] = []
        rows = []
        for n in shown.rounds:
            chosen = np.flatnonzero(self._policy.table[self._policy.context[n]])
            asked.append(np.append(chosen, rounds.arm[n]))
            at = int(rounds.position[n])
            position = record.position if isinstance(record, Event) else at
            where = modules.get(rounds.arms[rounds.arm[n]], module)
            rows += [make(rounds.arms[arm], record.domain, where, position) for arm in asked[-1].tolist()]
        said = np.concatenate([
            self._trainer.predict(of_candidates(rows[at : at + MOST])).probabilities[:, self._task] for at in range(0, len(rows), MOST)
        ])  # fmt: skip
        ends = np.cumsum([0, *map(len, asked)]).tolist()
        for n, arms, (start, end) in zip(shown.rounds, asked, pairwise(ends), strict=True):
            chance = self._policy.table[self._policy.context[n], arms[:-1]]
            self.q[n] = said[end - 1]
            for at, (gone, way) in enumerate(zip(self._above, self._ways, strict=True)):
                left = ~np.isin(arms[:-1], gone.get(n, []))
                self.q_policy[at, n] = float((chance * left) @ said[start : end - 1]) / way.left[n]


def predicted(
    rows: Callable[[], Iterable[LogRow]], items: dict[str, Item], rounds: Rounds, policy: Chances, ways: Sequence[Down],
    reward: str, partition: PartitionSettings, learning: LearnerSettings, model: ModelSettings, threads: int,
    told: Callable[[int, int], None],
) -> tuple[Array, Array]:  # fmt: skip
    """q̂ [N] of the logged arms and q̂_π [W, N] by way; `rows`: the log, read anew each time."""
    if reward not in TASKS:
        raise LogError(f"--q-hat ranker: it predicts {', '.join(TASKS)}, not {reward}; pass --q-hat cross-fitted")
    devices.use_threads(threads)
    catalog = Catalog()
    for item in items.values():
        catalog.put(item)
    machine = Partition(partition, Tables.over(), catalog)
    trainer = Trainer(model, "cpu")
    asked = RankerQuestions(_shown(rows(), Reader(partition, items)), machine, trainer, rounds, policy, ways, TASKS.index(reward))
    learner = Learner(learning, trainer, default_strategy_bandit())
    prequential.run(prequential.of_file(rows()), machine, learner, closing=True, progress=told, batches=stopping([asked]))
    return asked.q, asked.q_policy


def _shown(rows: Iterable[LogRow], reader: Reader) -> Iterator[Shown]:
    for row in rows:
        before = len(reader)
        reader.take(row)
        if len(reader) > before:
            record = next(record for record in decode(row.raw) if isinstance(record, Event | Exposure))
            yield Shown(record, range(before, len(reader)))
