"""What each block of the model is worth, what freshness is worth, and what taking popularity's part away does: tables over one log.

Everything is measured in one pass: models with a block switched off, serving copies that parameters are published to now and then,
and answers with other gammas all see the same exposures. Differences are to the first row of a table, paired, with intervals by a
bootstrap of users.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from bandit.bootstrap import Interval
from online_model.batch import Batch
from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from replay.evidence.intervals import RESAMPLES, Users, of_difference
from replay.evidence.ledger import AGES, Judged, Ledger
from replay.evidence.side_by_side import ComparedLearner, LaggedReplica, ask_gammas, frozen_name, gamma_name, note_steps
from replay.prequential import FEW_POSITIVES, Numbered, Result
from streams.core.join.events import Rejected
from streams.core.join.records import Outgoing
from streams.core.learning.learn import LearnerSettings

Array = np.ndarray

ALL_ON = "all on"
TAIL = 0.3  # share of a log, its end, that is predicted by what was known before it
SPANS_MS = (0, 1_000, 60_000, 1_800_000, 18_000_000)  # MODEL.md section 10: 0 s, 1 s, 1 min, 30 min, 5 h
TOP = 0.1  # share of each user's rows that would be shown first


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be measured."""

    ablate: bool = False
    spans_ms: tuple[int, ...] = ()  # between publications of parameters, the first 0: of the trainer itself
    gammas: tuple[float, ...] = ()  # shares of popularity's part to be taken away, the first is compared with
    frozen_from_ms: int = 0  # from then on exposures are also predicted by what was known before, all at once
    resamples: int = RESAMPLES


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A model on some exposures, by one task. Differences are to the table's first model."""

    name: str
    part: str  # which exposures
    task: str
    n: int
    positives: int
    auc: float
    ne: float
    copc: float
    gauc: float
    auc_more: Interval
    ne_more: Interval
    gauc_more: Interval
    top: float | None = None  # mean label of the tenth of each user's rows that is scored highest
    top_more: Interval | None = None
    rate: float | None = None  # examples a second, predicted and learned


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A table."""

    kind: str  # ablation | freshness | gamma
    title: str
    rows: list[Row]
    notes: list[str]


class Evidence:
    """The learner that a replay drives, and all that stands beside it."""

    def __init__(self, question: Question, model: ModelSettings, learning: LearnerSettings, device: str) -> None:
        self.question, self._model = question, model
        self._ledger, self.uniform = Ledger(), Ledger()
        self.main = ComparedLearner(ALL_ON, model, learning, device, self._ledger)
        self.learner, trainer = self.main.learner, self.main.trainer
        trainer.before.append(lambda batch, now_ms: self._ledger.shown(batch))
        others = switched_off(model) if question.ablate else {}
        self._rivals = [ComparedLearner(name, off, learning, device, self._ledger) for name, off in others.items()]
        for span in question.spans_ms:
            if span:
                LaggedReplica(span_name(span), trainer, self._ledger, span)
            else:
                note_steps(span_name(0), trainer, self._ledger)
        if question.gammas:
            trainer.before.append(lambda batch, now_ms: ask_gammas(ALL_ON, trainer, self._ledger, question.gammas, batch))

    def also(self, source: int, records: Sequence[Outgoing]) -> None:
        """What the learner has got, for the others."""
        self._ledger.closed(records)
        for rival in self._rivals:
            rival.apply(source, records)

    def ask_tail(self, batch: Batch) -> None:
        """For exposures of the log's end, by all models as they stand."""
        self.main.ask(batch, self.question.gammas)
        for rival in self._rivals:
            rival.ask(batch)

    def ask(self, batch: Batch) -> None:
        """For rows of a second log: every gamma, by the parameters as they stand."""
        ask_gammas(ALL_ON, self.main.trainer, self.uniform, self.question.gammas, batch)

    def findings(self, result: Result) -> list[Finding]:
        """The tables. `result`: of the replay that drove the learner."""
        q, judged = self.question, self._ledger.judged()
        tail = judged.shown_ms >= q.frozen_from_ms
        everything = np.ones(len(judged), bool)
        out = []
        if q.ablate:
            names = [ALL_ON, *(rival.name for rival in self._rivals)]
            rates = [result.examples / max(result.learned_s - self.main.trainer.watched_s, 1e-9), *(r.rate for r in self._rivals)]
            rows = measured(judged, names, [("all", everything)], q.resamples, [frozen_name(n) for n in names], tail, rates=rates)
            out.append(Finding(kind="ablation", title="Blocks switched off, one at a time", rows=rows, notes=[_TAIL_NOTE]))
        if q.spans_ms:
            fits, begun_ms = _fitting(q.spans_ms, judged.shown_ms)
            names = [span_name(span) for span in fits]
            ready = judged.shown_ms >= begun_ms + 2 * max(fits)
            parts = [("all", ready), *((name, ready & (judged.age_s >= low) & (judged.age_s < high)) for name, low, high in AGES)]
            rows = measured(judged, names, parts, q.resamples)
            notes = _span_notes(q.spans_ms, fits)
            out.append(Finding(kind="freshness", title="Parameters published every so often", rows=rows, notes=notes))
        if q.gammas:
            names = [gamma_name(ALL_ON, gamma) for gamma in q.gammas]
            still = [gamma_name(frozen_name(ALL_ON), gamma) for gamma in q.gammas]
            shown = [f"gamma_item {gamma:g}" for gamma in q.gammas]
            rows = measured(judged, names, [("all", everything)], q.resamples, still, tail, shown, top=TOP)
            uniform = self.uniform.judged()
            if len(uniform):
                whole = np.ones(len(uniform), bool)
                rows += measured(uniform, names, [("second log", whole)], q.resamples, shown=shown, top=TOP)
            out.append(Finding(kind="gamma", title="Popularity's part taken away", rows=rows, notes=[_GAMMA_NOTE]))
        if (judged.importance_weight > 1).any():
            out = [msgspec.structs.replace(finding, notes=[*finding.notes, _THINNED_NOTE]) for finding in out]
        return out


def tail_ms(arrivals: Iterable[Numbered]) -> int:
    """The moment at which the last 30 % of a log's records begin."""
    moments = [arrived.record.ts for _, arrived in arrivals if not isinstance(arrived.record, Rejected)]
    return sorted(moments)[int((1 - TAIL) * len(moments))] if moments else 0


_TAIL_NOTE = "AUC, NE and COPC are of one pass; GAUC is of the last 30 % of the log, predicted by what was known before it."
_SPAN_NOTE = "Judged on what was shown after every copy had been published to twice. GAUC is of one pass, alike for all."
_THINNED_NOTE = (
    "Of the exposures without an act only a share was kept (partition.negative_rate). Each counts as many as it was kept of: "
    "figures, n too, are estimates of those of all."
)
_SPANS = 4  # that a log must last: the first two are not judged
_GAMMA_NOTE = f"top: mean label of the {TOP:.0%} of each user's exposures that are scored highest. {_TAIL_NOTE}"


def switched_off(model: ModelSettings) -> dict[str, ModelSettings]:
    """The settings with one block off each, by name: every switch that is on, and the pairwise loss."""
    switches = {f.name: False for f in msgspec.structs.fields(ModelSettings) if f.type is bool and getattr(model, f.name)}
    off: dict[str, bool | float] = {**switches, **({"pairs": 0.0} if model.pairs else {})}
    return {f"no {name}": msgspec.structs.replace(model, **{name: value}) for name, value in off.items()}


def _fitting(spans_ms: Sequence[int], shown_ms: Array) -> tuple[list[int], int]:
    """The spans that a log is long enough for, the first always, and when it began."""
    if not len(shown_ms):
        return [spans_ms[0]], 0
    begun_ms = int(shown_ms.min())
    lasted_ms = int(shown_ms.max()) - begun_ms
    return [span for at, span in enumerate(spans_ms) if not at or _SPANS * span <= lasted_ms], begun_ms


def _span_notes(spans_ms: Sequence[int], fits: Sequence[int]) -> list[str]:
    short = ", ".join(span_name(span) for span in spans_ms if span not in fits)
    return [_SPAN_NOTE, *([f"Left out, since the log does not last {_SPANS} times as long: {short}."] if short else [])]


def span_name(span_ms: int) -> str:
    for unit, ms in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if span_ms >= ms:
            return f"every {span_ms / ms:g} {unit}"
    return f"every {span_ms} ms" if span_ms else "at once"


def measured(
    judged: Judged, names: Sequence[str], parts: Sequence[tuple[str, Array]], resamples: int, gauc_of: Sequence[str] | None = None,
    gauc_rows: Array | None = None, shown: Sequence[str] | None = None, top: float | None = None, rates: Sequence[float] | None = None,
    fewest: int = FEW_POSITIVES,
) -> list[Row]:  # fmt: skip
    """A row for each part, task and name, where there are `fewest` positives and negatives; differences are to the first name.

    `gauc_of`, `gauc_rows`: names and exposures that GAUC is read from, where they are others. `shown`: how rows are called.
    """
    out = []
    for part, inside in parts:
        for task, name in enumerate(TASKS):
            rows = _usable(judged, inside, names, task)
            labels = judged.labels[rows, task]
            if min(labels.sum(), len(labels) - labels.sum()) < fewest:
                continue
            still = gauc_of or names
            tail = _usable(judged, inside & gauc_rows, still, task) if gauc_rows is not None else rows
            users, of_tail = (Users(judged.users[which], judged.importance_weight[which]) for which in (rows, tail))
            figures = []
            for model in names:
                z, p = judged.logits[model][rows, task], judged.probabilities[model][rows, task]
                figures += [users.auc(z, labels), users.ne(p, labels), users.copc(p, labels)]
                figures += [users.top(z, labels, top)] if top else []
            read = users.read(figures, resamples)
            gaucs = np.full((1, len(still)), np.nan)
            if len(tail):
                within = [of_tail.gauc(judged.logits[model][tail, task], judged.labels[tail, task]) for model in still]
                gaucs = of_tail.read(within, resamples)
            for k, model in enumerate(shown or names):
                at = k * (4 if top else 3)
                out.append(
                    Row(
                        name=model, part=part, task=name, n=round(users.importance_weight.sum()),
                        positives=round(users.importance_weight @ labels),
                        auc=float(read[0, at]), ne=float(read[0, at + 1]), copc=float(read[0, at + 2]), gauc=float(gaucs[0, k]),
                        auc_more=of_difference(read, at, 0), ne_more=of_difference(read, at + 1, 1), gauc_more=of_difference(gaucs, k, 0),
                        top=float(read[0, at + 3]) if top else None, top_more=of_difference(read, at + 3, 3) if top else None,
                        rate=rates[k] if rates else None,
                    )
                )  # fmt: skip
    return out


def _usable(judged: Judged, inside: Array, names: Sequence[str], task: int) -> Array:
    """Exposures with a label that every model was asked about."""
    there = inside & np.isfinite(judged.labels[:, task])
    for name in names:
        there &= np.isfinite(judged.logits[name][:, task]) if name in judged.logits else False
    return np.flatnonzero(there)
