"""The learner: records of `examples` in, model versions and metrics out. Predict first, then one step; each example once.

A micro-batch ends at a count, at a span of event time, or at a tick: at nothing but the records themselves, so a
log gives the same steps live and in replay. What was predicted is kept until the exposure's window has closed, and
is scored against the labels as they stand then, in the metric window of the time at which it was shown. What lists
earned whose strategy was chosen is learned where a micro-batch ends, too.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xxhash

from online_model.batch import Batch, of_records
from online_model.drift import Drift
from online_model.features import FIELDS, TASKS, Closed, Example, ExampleRecord, Reversal, Reward, Tick
from online_model.gate_watch import GateWatch
from online_model.identification import Identification
from online_model.metrics import Prequential, WindowResult
from streams.core.join.records import Outgoing
from streams.core.learning.live_value import StrategyValue
from streams.core.learning.pair_buffer import PairBuffer
from streams.core.learning.reservoir import Reservoir
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.sampled_buffer import NONE_DROPPED, SampledBuffer
from streams.core.learning.strategy_bandit import StrategyBandit

if TYPE_CHECKING:  # settings are read without torch
    from online_model.trainer import StepReport, Trainer

FIRST_BATCH = 64  # examples of a full micro-batch before much has been learned (MODEL.md section 7)
GROWTH = 128  # examples learned for each that a micro-batch may hold: a large step teaches less while all is new, and costs half an example
COMPARED = 256  # rows of closed lists that a step takes at least, and that make one of their own: a closing tick closes thousands

_USER, _ITEM, _DOMAIN = (FIELDS.index(name) for name in ("user", "item", "domain"))

SequenceMark = tuple[int, int, int]
Watcher = Callable[[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], None]  # as `Prequential.score`


class LearnerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a micro-batch ends, and what is remembered."""

    micro_batch_examples: int = 256  # at most; a 128th of what has been learned, from 64 on: small steps teach more while all is new
    micro_batch_span_ms: int = 200  # of event time: what an act waits for its step at most while events flow
    open_predictions: int = 1_000_000  # kept until their exposure's window closes, 52 bytes each; where full, whole lists go
    listed_exposures: int = 20_000  # kept until their list closes, to be compared in it, up to 4 kB each; where full, whole lists go

    reservoir_share: float = 0.0  # of the rows that dense layers see: examples of the last week once more, rare tiers as often; 0.1 does
    drift_reaction: bool = False  # an alarm of drift triples the rates of rows and dense part, for an hour; off until a log shows a gain

    def __post_init__(self) -> None:
        if not 0 <= self.reservoir_share < 1:
            raise ValueError(f"0 <= reservoir_share ({self.reservoir_share}) < 1 must hold")
        for name in ("micro_batch_examples", "micro_batch_span_ms", "open_predictions", "listed_exposures"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")


@dataclass(slots=True)
class Step:
    """One model version: what the trainer did, and which acts it contains."""

    version: int
    watermark_ms: int
    report: StepReport
    arrivals_ms: list[int]  # broker append of each act in it


class Predicted(msgspec.Struct, frozen=True, array_like=True):
    """What was predicted for an exposure before it was learned."""

    user: int
    shown_ms: int
    logits: bytes  # float32 [T]
    probabilities: bytes  # float32 [T]
    place: int  # of its domain
    sampling_rate: float  # kept share of such exposures


class Learner:
    """All that learns, in one deterministic machine over the trainer, the metrics and the open micro-batch."""

    def __init__(self, settings: LearnerSettings, trainer: Trainer, strategy_bandit: StrategyBandit, sources: int = 1) -> None:
        """`strategy_bandit`: what learns of rewards (`surfaces.default_choosing` has the default settings).

        `sources`: partitions of `events`. Whoever ends a log ends it in each, also where it had no rows (`segue send` does).
        """
        self.settings, self.trainer, self.sources = settings, trainer, sources
        self.metrics = Prequential()
        self.gates = GateWatch(trainer.settings.shared_experts)
        self.identification = Identification()
        self.drift = Drift(trainer.settings.domain_places)
        self.identified = self._identified()  # as of the last minute, for whoever reads beside the learner
        self.reward_queue = RewardQueue(strategy_bandit)
        self.version = 0
        self.watermark_ms = -1
        self.marks: dict[int, SequenceMark] = {}  # per source partition: the newest sequence applied
        self.counted: dict[str, int] = {}
        self.windows: list[WindowResult] = []  # closed, for `take_windows`
        self.watchers: list[Watcher] = []  # are told of every scored list; no part of the state
        self._batch: list[Example | Reversal] = []
        self._closed: list[Closed] = []
        self._predicted = SampledBuffer[Predicted](settings.open_predictions, lambda predicted: (predicted.user, predicted.shown_ms))
        self._lists = PairBuffer(settings.listed_exposures)
        self._reservoir = Reservoir()
        self._settled_ms = -1  # shown before: scored, once all that closes at this moment is
        self._ended: set[int] = set()  # sources that have sent nothing since the end of their log

    @property
    def has_open_batch(self) -> bool:
        return bool(self._batch or self._lists.ready or self.reward_queue)

    @property
    def strategy_bandit(self) -> StrategyBandit:
        """What strategies have earned so far."""
        return self.reward_queue.strategy_bandit

    def apply(self, source: int, records: Sequence[Outgoing]) -> list[Step]:
        """Apply records of one source partition in order; what is not above the source's mark was applied before."""
        steps: list[Step] = []
        mark = self.marks.get(source, (-1, -1, -1))
        for out in records:
            sequence = (out.offset, out.index, out.n)
            if sequence <= mark:
                self._count("repeated")
                continue
            mark = sequence
            self._apply(source, out.record, steps)
        self.marks[source] = mark
        return steps

    def take_windows(self) -> list[WindowResult]:
        """Metric windows that closed since the last call."""
        out, self.windows = self.windows, []
        return out

    def take_values(self) -> list[StrategyValue]:
        """What each strategy was worth in the hours that closed since the last call."""
        out, self.reward_queue.values = self.reward_queue.values, []
        return out

    def _apply(self, source: int, record: ExampleRecord, steps: list[Step]) -> None:
        if isinstance(record, Tick):
            self.watermark_ms = max(self.watermark_ms, record.ts)
            if record.last:
                self._lists.part_all()
            while self._batch or self._lists.ready:
                steps.append(self._step())
            self._reward()
            self._value()
            self.windows += self.metrics.advance(self._settled_ms)
            if record.last:
                self._end(source)
            return
        if self._batch and abs(record.ts - self._batch[0].ts) > self.settings.micro_batch_span_ms:
            steps.append(self._step())
        self.watermark_ms = max(self.watermark_ms, record.ts)
        self._ended.discard(source)
        if isinstance(record, Closed):
            if self.trainer.settings.pairs:
                self._lists.close(record)
            self._closed.append(record)
            if self._lists.ready >= COMPARED:
                steps.append(self._step())
            elif not self._batch:
                self._score()
            return
        if isinstance(record, Reward):
            self._count("rewards")
            if self.reward_queue.take(record):
                self._reward()
            return
        self._batch.append(record)
        if isinstance(record, Example) and self.trainer.settings.pairs:
            self._count("uncompared", self._lists.show(record.id, record.features))
        self._count("examples" if isinstance(record, Example) else "reversals")
        if len(self._batch) >= self._limit:
            steps.append(self._step())

    @property
    def _limit(self) -> int:
        """Records of a full micro-batch. KuaiRand in steps of 64: AUC of skip .7233, of a 256th of what has been learned .7236, of a
        128th .7236 (before 28 April -.0001 [-.0008, .0005] against a 256th; a 64th -.0003, full plays -.0006); of 256 from the start:
        .02 less in the first 20,000."""
        return min(self.settings.micro_batch_examples, max(FIRST_BATCH, self.counted.get("examples", 0) // GROWTH))

    def _end(self, source: int) -> None:
        """A source's log has ended; metric windows close when all have, since the others may be behind."""
        self._ended.add(source)
        if len(self._ended) >= self.sources:
            self._ended.clear()
            self.windows += self.metrics.close()
            self.reward_queue.close()

    def _value(self) -> None:
        """Close the hours in which all lists have closed, once what these earned is in."""
        if self.reward_queue.due(self._settled_ms):
            self._reward()
            self.reward_queue.advance(self._settled_ms)

    def _reward(self) -> None:
        for what, n in self.reward_queue.learn().items():
            self._count(f"rewards_{what}", n)

    def _step(self) -> Step:
        records, self._batch = self._batch, []
        batch = of_records(records, self._lists.take(COMPARED))
        if self.settings.drift_reaction:
            self.trainer.lr_multiplier = self.drift.lr_multiplier(self.watermark_ms)
        report = self.trainer.step(batch, self.watermark_ms)
        self.version += 1
        if self.settings.reservoir_share:
            again = self._reservoir.draw(len(records), self.settings.reservoir_share, self.version, self.watermark_ms)
            if again:
                self.trainer.rehearse(of_records(again))
                self._count("rehearsed", len(again))
            self._reservoir.add(records)
        self._keep(records, batch, report)
        self._watch(batch, report)
        self._score()
        self._reward()
        if report.skipped:
            self._count(f"skipped:{report.skipped}")
            self._count("rolled_back", int(report.rolled_back))
        self._count("rowless", sum(table.rows.refused for table in self.trainer.state.tables().values()) - self.counted.get("rowless", 0))
        return Step(
            version=self.version,
            watermark_ms=self.watermark_ms,
            report=report,
            arrivals_ms=[r.arrival_ms for r in records if r.arrival_ms],
        )

    def _watch(self, batch: Batch, report: StepReport) -> None:
        shown = batch.is_example > 0
        self.identification.see(batch.fields[shown, _ITEM], batch.popularity[shown], 1 / batch.sampling_rate[shown], self.watermark_ms)
        if report.gates is not None:
            self.gates.see(*report.gates, self.watermark_ms)
            self.identified = self._identified()

    def _identified(self) -> list[float]:
        """R^2 a half-life, then 1 where it warns."""
        return [*self.identification.read(), float(self.identification.unidentified())]

    def _keep(self, records: Sequence[Example | Reversal], batch: Batch, report: StepReport) -> None:
        users, shown_ms, places = batch.fields[:, _USER], batch.shown_ms, self.trainer.state.domains.places(batch.fields[:, _DOMAIN])
        logits, probabilities = report.logits.astype("<f4"), report.probabilities.astype("<f4")
        for i, record in enumerate(records):
            if isinstance(record, Example):
                said = logits[i].tobytes(), probabilities[i].tobytes()
                predicted = Predicted(int(users[i]), int(shown_ms[i]), *said, int(places[i]), record.sampling_rate)
                self._predicted.put(record.id, predicted)  # what is dropped is counted as unscored when it closes

    def _score(self) -> None:
        closed, self._closed = self._closed, []
        found = [(self._predicted.pop(i), labels) for record in closed for i, labels in zip(record.ids, record.labels, strict=True)]
        if closed:
            self._predicted.settle(max(record.shown_before_ms for record in closed))
        shown_ms, columns = _columns([(p, labels) for p, labels in found if p is not None])
        asked = at = 0
        for record in closed:
            if record.shown_before_ms > self._settled_ms:
                self.windows += self.metrics.advance(self._settled_ms)
                self._value()
                self._settled_ms = record.shown_before_ms
            known = sum(p is not None for p, _ in found[asked : asked + len(record.ids)])
            self._count("unscored", len(record.ids) - known)
            self._count("scored", known)
            self._count("sampled_out", record.sampled_out)
            asked, end = asked + len(record.ids), at + known
            for ts, group in groupby(shown_ms[at:end]):
                rows = slice(at, at := at + len(list(group)))
                for score in (self.metrics.score, *self.watchers):
                    score(ts, *(column[rows] for column in columns[:-1]))
        _, _, probabilities, labels, importance_weight, places = columns
        residuals = labels - probabilities
        said = np.isfinite(residuals).all(1)  # a step that was skipped may have said nothing
        self._count("drift", self.drift.see(places[said], residuals[said], importance_weight[said], self.watermark_ms))

    def _count(self, what: str, n: int = 1) -> None:
        if n:
            self.counted[what] = self.counted.get(what, 0) + n

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays of a checkpoint."""
        return {
            **{f"trainer.{n}": a for n, a in self.trainer.arrays().items()},
            **{f"metrics.{n}": a for n, a in self.metrics.arrays().items()},
            "open.predicted": _packed(list(self._predicted.rows.items())),
            "open.predicted_share": np.array(self._predicted.meta(), np.int64),
            "open.batch": _packed(self._batch),
            "open.closed": _packed(self._closed),
            **{f"open.lists.{n}": a for n, a in self._lists.arrays().items()},
            **{f"posteriors.{n}": a for n, a in self.reward_queue.arrays().items()},
            **{f"watch.gates.{n}": a for n, a in self.gates.arrays().items()},
            **{f"open.reservoir.{n}": a for n, a in self._reservoir.arrays().items()},
            **{f"watch.drift.{n}": a for n, a in self.drift.arrays().items()},
            **{f"watch.identification.{n}": a for n, a in self.identification.arrays().items()},
        }

    def meta(self) -> dict[str, Any]:
        """The rest of a checkpoint."""
        return {
            "trainer": self.trainer.meta(),
            "metrics": self.metrics.meta(),
            "version": self.version,
            "watermark_ms": self.watermark_ms,
            "marks": [[source, *mark] for source, mark in sorted(self.marks.items())],
            "counted": dict(sorted(self.counted.items())),
            "windows": msgspec.to_builtins(self.windows),
            "posteriors": self.reward_queue.meta(),
            "settled_ms": self._settled_ms,
            "ended": sorted(self._ended),
        }

    def load(self, arrays: dict[str, np.ndarray], meta: dict[str, Any]) -> None:
        """Become what a checkpoint holds."""
        self.trainer.load({n[8:]: a for n, a in arrays.items() if n.startswith("trainer.")}, meta["trainer"])
        self.metrics.load({n[8:]: a for n, a in arrays.items() if n.startswith("metrics.")}, meta["metrics"])
        self.version, self.watermark_ms, self.counted = meta["version"], meta["watermark_ms"], dict(meta["counted"])
        self.marks = {source: (offset, index, n) for source, offset, index, n in meta["marks"]}
        self.windows = msgspec.convert(meta["windows"], list[WindowResult])
        self._settled_ms, self._ended = meta["settled_ms"], set(meta["ended"])
        predicted = msgspec.msgpack.decode(arrays["open.predicted"].tobytes(), type=list[tuple[int, Predicted]])
        share = arrays["open.predicted_share"].tolist() if "open.predicted_share" in arrays else NONE_DROPPED
        self._predicted.load(predicted, share)
        self._batch = msgspec.msgpack.decode(arrays["open.batch"].tobytes(), type=list[Example | Reversal])
        self._closed = msgspec.msgpack.decode(arrays["open.closed"].tobytes(), type=list[Closed])
        self._lists.load({n[11:]: a for n, a in arrays.items() if n.startswith("open.lists.")})
        self.gates.load({n[12:]: a for n, a in arrays.items() if n.startswith("watch.gates.")})
        self._reservoir.load({n[15:]: a for n, a in arrays.items() if n.startswith("open.reservoir.")})
        self.drift.load({n[12:]: a for n, a in arrays.items() if n.startswith("watch.drift.")})
        self.identification.load({n[21:]: a for n, a in arrays.items() if n.startswith("watch.identification.")})
        self.identified = self._identified()
        if "posteriors" in meta:  # of an older one nothing is known: what strategies earn is learned from here on
            self.reward_queue.load({n[11:]: a for n, a in arrays.items() if n.startswith("posteriors.")}, meta["posteriors"])

    def digest(self) -> dict[str, str]:
        """A hash per kind of state: equal learners, equal digests. Marks and counts of repeats are left out: they
        say how the records came, not what was learned from them."""
        out = {"trainer": self.trainer.digest(), "posteriors": self.reward_queue.digest()}
        arrays = self.arrays()
        for name in ("metrics", "open", "watch"):
            h = xxhash.xxh3_128()
            for key in sorted(k for k in arrays if k.startswith(f"{name}.")):
                h.update(key.encode() + str(arrays[key].shape).encode() + np.ascontiguousarray(arrays[key]).tobytes())
            if name == "metrics":
                h.update(msgspec.msgpack.encode(self.metrics.meta(), order="sorted"))  # which windows those are
            out[name] = h.hexdigest()
        return out


def _columns(scored: Sequence[tuple[Predicted, int]]) -> tuple[list[int], tuple[np.ndarray, ...]]:
    """Event times [N], then users [N], logits, probabilities and labels [N, T], what each stands for [N], places [N]."""
    n, tasks = len(scored), len(TASKS)
    masks = np.array([labels for _, labels in scored], np.int64)
    return [p.shown_ms for p, _ in scored], (
        np.array([p.user for p, _ in scored], np.uint64),
        np.frombuffer(b"".join([p.logits for p, _ in scored]), "<f4").reshape(n, tasks),
        np.frombuffer(b"".join([p.probabilities for p, _ in scored]), "<f4").reshape(n, tasks),
        ((masks[:, None] >> np.arange(tasks)) & 1).astype(np.float32),
        1 / np.array([p.sampling_rate for p, _ in scored], np.float64),
        np.array([p.place for p, _ in scored], np.int64),
    )


def _packed(records: Any) -> np.ndarray:
    return np.frombuffer(msgspec.msgpack.encode(records), np.uint8)
