"""The learner: records of `examples` in, model versions and metrics out. It predicts an exposure when it is shown, and learns its example
once, when its labels come.

batching.py says when a micro-batch ends, scoring.py what becomes of predictions. Rewards of slates whose strategy was drawn are
learned where a micro-batch ends, too.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
import xxhash
from msgspec import Meta

from online_model.batch import Batch, of_exposed, of_records
from online_model.features import FIELDS, Closed, Example, ExampleRecord, Exposed, Reversal, Reward, Tick
from online_model.gate_watch import GateWatch
from online_model.identification import Identification
from online_model.metrics import WindowResult
from streams.core.join.records import Outgoing
from streams.core.join.settings import Limit
from streams.core.learning.batching import PREDICTED, MicroBatch, full_size
from streams.core.learning.checkpoint_arrays import Restorable, below, prefixed, update_hash
from streams.core.learning.live_value import StrategyValue
from streams.core.learning.pair_buffer import PairBuffer
from streams.core.learning.reservoir import Reservoir
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.scoring import PredictionScorer
from streams.core.learning.strategy_bandit import StrategyBandit

if TYPE_CHECKING:  # settings are read without torch
    from online_model.trainer import Prediction, StepReport, Trainer

COMPARED = 256  # rows of closed slates that a step takes at least, and that make one of their own: a closing tick closes thousands

_ITEM, _DOMAIN = FIELDS.index("item"), FIELDS.index("domain")

SequenceMark = tuple[int, int, int]


class LearnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a micro-batch ends, and what is remembered."""

    micro_batch_examples: Limit = 256  # at most; a 128th of what has been learned, from 64 on: small steps teach more while all is new
    micro_batch_span_ms: Limit = 200  # of event time: what an act waits for its step at most while events flow
    open_predictions: Limit = 1_000_000  # kept until their exposure's window closes, 52 bytes each; where full, whole lists go
    listed_exposures: Limit = 20_000  # kept until their list closes, to be compared in it, up to 4 kB each; where full, whole lists go

    # of the rows that dense layers see: examples of the last week once more, rare tiers as often; off: .2 cost .0028 of AUC on KuaiRand
    reservoir_share: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    drift_reaction: bool = False  # an alarm of drift triples the rates of rows and dense part, for an hour; off until a log shows a gain


@dataclass(slots=True)
class Step:
    """One model version: what the trainer did, and which acts it contains."""

    version: int
    watermark_ms: int
    report: StepReport
    arrivals_ms: list[int]  # broker append of each act in it


class Learner:
    """One deterministic machine: the trainer, the strategy bandit, the metrics, and everything that waits for a step or a closed window.

    The same records in the same order give the same state, however they are cut into calls of `apply`; a learner restored from
    `arrays()` and `meta()` goes on as the one that wrote them.
    """

    def __init__(self, settings: LearnerSettings, trainer: Trainer, strategy_bandit: StrategyBandit, sources: int = 1) -> None:
        """`sources`: partitions of `events`. A log has ended when each of them has said so, also one without rows."""
        self.settings, self.trainer, self.sources = settings, trainer, sources
        self.reward_queue = RewardQueue(strategy_bandit)
        self.gates = GateWatch(trainer.settings.shared_experts)
        self.identification = Identification()
        self.identified = self._identified()  # as of the last minute, for readers in other threads
        self.version = 0
        self.watermark_ms = -1
        self.last_applied: dict[int, SequenceMark] = {}  # by source partition
        self.counted: Counter[str] = Counter()
        self._scorer = PredictionScorer(settings.open_predictions, trainer.settings.domain_places)
        self.metrics, self.drift, self.watchers = self._scorer.metrics, self._scorer.drift, self._scorer.watchers
        self.closed_watchers = self._scorer.closed_watchers
        # Called before what predicts exposures and after each pass, with event time: for what is measured beside; no part of the state.
        self.before_prediction: list[Callable[[Batch, int], None]] = []
        self.after_prediction: list[Callable[[Batch, Prediction | StepReport, int], None]] = []
        self._batch = MicroBatch(settings.micro_batch_span_ms)
        self._pairs = PairBuffer(settings.listed_exposures)
        self._reservoir = Reservoir()
        self._ended: set[int] = set()  # sources that have sent nothing since the end of their log

    @property
    def has_open_batch(self) -> bool:
        """Whether something waits for a step or a tick."""
        return bool(self._batch or self._pairs.ready or self.reward_queue)

    @property
    def strategy_bandit(self) -> StrategyBandit:
        """What strategies have earned so far."""
        return self.reward_queue.strategy_bandit

    def apply(self, source: int, records: Sequence[Outgoing]) -> list[Step]:
        """Apply records of one source partition in order; what is not beyond the last applied one was applied before."""
        steps: list[Step] = []
        last = self.last_applied.get(source, (-1, -1, -1))
        for out in records:
            sequence = (out.offset, out.index, out.n)
            if sequence <= last:
                self.counted["repeated"] += 1
                continue
            last = sequence
            self._apply(source, out.record, steps)
        self.last_applied[source] = last
        return steps

    def take_windows(self) -> list[WindowResult]:
        """Metric windows that closed since the last call."""
        out, self._scorer.windows = self._scorer.windows, []
        return out

    def take_values(self) -> list[StrategyValue]:
        """What each strategy was worth in the hours that closed since the last call."""
        out, self.reward_queue.values = self.reward_queue.values, []
        return out

    def _apply(self, source: int, record: ExampleRecord, steps: list[Step]) -> None:
        if isinstance(record, Tick):
            self._tick(source, record, steps)
            return
        if self._batch.ends_before(record.ts):
            steps.append(self._step())
        self.watermark_ms = max(self.watermark_ms, record.ts)
        self._ended.discard(source)
        if isinstance(record, Exposed):
            self._batch.exposed.append(record)
            if len(self._batch.exposed) >= PREDICTED:
                self._predict()
        elif isinstance(record, Closed):
            if self.trainer.settings.pairs:
                self._pairs.close(record)
            self._scorer.close(record)
            if self._pairs.ready >= COMPARED:
                steps.append(self._step())
            elif not self._batch:
                self._score()
        elif isinstance(record, Reward):
            self.counted["rewards"] += 1
            if self.reward_queue.put(record):
                self._learn_rewards()
        else:
            self._batch.records.append(record)
            if isinstance(record, Example) and self.trainer.settings.pairs:
                self._count({"uncompared": self._pairs.put(record.id, record.features)})
            self.counted["examples" if isinstance(record, Example) else "reversals"] += 1
            if len(self._batch) >= full_size(self.settings.micro_batch_examples, self.counted["examples"]):
                steps.append(self._step())

    def _tick(self, source: int, tick: Tick, steps: list[Step]) -> None:
        """Learn all that waits, and close what is settled; metric windows of an ended log close when it has ended in all sources."""
        self.watermark_ms = max(self.watermark_ms, tick.ts)
        if tick.last:
            self._pairs.finish_all()
        while self._batch or self._pairs.ready:
            steps.append(self._step())
        self._learn_rewards()
        self._close_hours(self._scorer.settled_ms)
        self._scorer.advance()
        if tick.last:
            self._ended.add(source)
            if len(self._ended) >= self.sources:
                self._ended.clear()
                self._scorer.finish()
                self.reward_queue.close()

    def _close_hours(self, settled_ms: int) -> None:
        """Close the hours of strategies in which all slates have closed, once their rewards are learned."""
        if self.reward_queue.due(settled_ms):
            self._learn_rewards()
            self.reward_queue.advance(settled_ms)

    def _learn_rewards(self) -> None:
        self._count({f"rewards_{what}": n for what, n in self.reward_queue.learn().items()})

    def _predict(self) -> None:
        """Predict what was shown since the last step."""
        exposed = self._batch.take_exposed()
        if exposed:
            batch = of_exposed(exposed)
            self._look(batch)
            prediction = self.trainer.predict(batch)
            self._keep(exposed, batch, prediction)

    def _look(self, batch: Batch) -> None:
        if not batch.foreseen.all():
            for look in self.before_prediction:
                look(batch, self.watermark_ms)

    def _keep(self, records: Sequence[Exposed | Example | Reversal], batch: Batch, made: Prediction | StepReport) -> None:
        self._scorer.keep(records, batch, self.trainer.state.domains.places(batch.fields[:, _DOMAIN]), made)
        for look in self.after_prediction:
            look(batch, made, self.watermark_ms)

    def _step(self) -> Step:
        self._predict()
        records = self._batch.take()
        batch = of_records(records, self._pairs.take(COMPARED))
        self._look(batch)
        if self.settings.drift_reaction:
            self.trainer.lr_multiplier = self.drift.lr_multiplier(self.watermark_ms)
        report = self.trainer.step(batch, self.watermark_ms)
        self.version += 1
        if self.settings.reservoir_share:
            again = self._reservoir.draw(len(records), self.settings.reservoir_share, self.version, self.watermark_ms)
            if again:
                self.trainer.rehearse(of_records(again))
                self._count({"rehearsed": len(again)})
            self._reservoir.add(records)
        self._keep(records, batch, report)
        self._watch(batch, report)
        self._score()
        self._learn_rewards()
        if report.skipped:
            self._count({f"skipped:{report.skipped}": 1, "rolled_back": int(report.rolled_back)})
        refused = sum(table.rows.refused for table in self.trainer.state.tables().values())
        self._count({"rowless": refused - self.counted["rowless"]})
        return Step(
            version=self.version,
            watermark_ms=self.watermark_ms,
            report=report,
            arrivals_ms=[r.arrival_ms for r in records if r.arrival_ms],
        )

    def _watch(self, batch: Batch, report: StepReport) -> None:
        """Watch gates of experts and the identification of popularity's effect."""
        exposed = batch.is_example > 0
        importance_weight = 1 / batch.sampling_rate[exposed]
        self.identification.see(batch.fields[exposed, _ITEM], batch.popularity[exposed], importance_weight, self.watermark_ms)
        if report.gates is not None:
            self.gates.see(*report.gates, self.watermark_ms)
            self.identified = self._identified()

    def _identified(self) -> list[float]:
        """R^2 a half-life, then 1 where it warns."""
        return [*self.identification.read(), float(self.identification.unidentified())]

    def _score(self) -> None:
        self._predict()
        scored = self._scorer.score(self.watermark_ms)
        self._count(scored.counts)
        for settled_ms in scored.settled_ms:
            self._close_hours(settled_ms)

    def _count(self, counts: Mapping[str, int]) -> None:
        """Add to `counted`; what never happened has no entry."""
        self.counted.update({what: n for what, n in counts.items() if n})

    def _parts(self) -> list[tuple[str, Restorable]]:
        """The parts of the state that are arrays alone, by the prefix of their names in a checkpoint."""
        return [
            ("open.", self._scorer), ("open.", self._batch), ("open.lists.", self._pairs), ("open.reservoir.", self._reservoir),
            ("watch.gates.", self.gates), ("watch.drift.", self.drift), ("watch.identification.", self.identification),
        ]  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of a checkpoint."""
        out = prefixed("trainer.", self.trainer.arrays()) | prefixed("metrics.", self.metrics.arrays())
        for prefix, part in self._parts():
            out |= prefixed(prefix, part.arrays())
        return out | prefixed("posteriors.", self.reward_queue.arrays())

    def meta(self) -> dict[str, Any]:
        """The rest of a checkpoint."""
        return {
            "trainer": self.trainer.meta(),
            "metrics": self.metrics.meta(),
            "version": self.version,
            "watermark_ms": self.watermark_ms,
            "marks": [[source, *sequence] for source, sequence in sorted(self.last_applied.items())],
            "counted": dict(sorted(self.counted.items())),
            "windows": msgspec.to_builtins(self._scorer.windows),
            "posteriors": self.reward_queue.meta(),
            "settled_ms": self._scorer.settled_ms,
            "ended": sorted(self._ended),
        }

    def load(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Restore `arrays()` and `meta()`; a checkpoint without posteriors leaves the strategy bandit as it is."""
        self.version, self.watermark_ms, self.counted = meta["version"], meta["watermark_ms"], Counter(meta["counted"])
        self.last_applied = {source: (offset, index, n) for source, offset, index, n in meta["marks"]}
        self._scorer.windows = msgspec.convert(meta["windows"], list[WindowResult])
        self._scorer.settled_ms, self._ended = meta["settled_ms"], set(meta["ended"])
        self.trainer.load(below("trainer.", arrays), meta["trainer"])
        self.metrics.load(below("metrics.", arrays), meta["metrics"])
        for prefix, part in self._parts():
            part.load(below(prefix, arrays))
        if "posteriors" in meta:
            restarted = self.reward_queue.load(below("posteriors.", arrays), meta["posteriors"])
            self._count({"drift_windows_restarted": restarted})
        self.identified = self._identified()

    def digest(self) -> dict[str, str]:
        """A hash per kind of state: equal learners, equal digests. Sequences and counts of repeats are left out: they
        say how the records came, not what was learned from them."""
        out = {"trainer": self.trainer.digest(), "posteriors": self.reward_queue.digest()}
        arrays = self.arrays()
        for name in ("metrics", "open", "watch"):
            h = xxhash.xxh3_128()
            update_hash(h, {key: array for key, array in arrays.items() if key.startswith(f"{name}.")})
            if name == "metrics":
                h.update(msgspec.msgpack.encode(self.metrics.meta(), order="sorted"))  # which windows those are
            out[name] = h.hexdigest()
        return out
