"""What each block of the model is worth, what freshness is worth, and what taking popularity's part away does: tables over one log.

Everything is measured in one pass: models with a block switched off, serving copies that parameters are published to now and then,
and answers with other gammas all see the same exposures. Differences are to the first row of a table, paired, with intervals by a
bootstrap of users.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bandit.bootstrap import Interval
from online_model.batch import Batch
from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.popularity_effect import MOVED
from replay.evidence.intervals import RESAMPLES, Users, interval
from replay.evidence.ledger import AGES, Ledger, PredictedExposures
from replay.evidence.side_by_side import ComparedLearner, LaggedReplica, ask_gammas, frozen_name, gamma_name
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

    ablate: tuple[str, ...] = ()  # blocks, each switched off in a model of its own
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
    """A table of models side by side."""

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
        self.main.before(lambda batch, now_ms: self._ledger.exposed(batch))
        others = switched_off(model, question.ablate)
        self._compared = [ComparedLearner(name, off, learning, device, self._ledger) for name, off in others.items()]
        for span in question.spans_ms:
            if span:
                LaggedReplica(span_name(span), self.main, self._ledger, span)
            else:
                self.main.note(span_name(0))
        if question.gammas:
            self.main.before(lambda batch, now_ms: ask_gammas(ALL_ON, trainer, self._ledger, question.gammas, batch))

    def also(self, source: int, records: Sequence[Outgoing]) -> None:
        """What the learner has got, for the others."""
        self._ledger.learned(records)
        for compared in self._compared:
            compared.apply(source, records)

    def ask_tail(self, batch: Batch) -> None:
        """For exposures of the log's end, by all models as they stand."""
        self.main.ask(batch, self.question.gammas)
        for compared in self._compared:
            compared.ask(batch)

    def ask(self, batch: Batch) -> None:
        """For rows of a second log: every gamma, by the parameters as they stand."""
        ask_gammas(ALL_ON, self.main.trainer, self.uniform, self.question.gammas, batch)

    def findings(self, result: Result) -> list[Finding]:
        """The tables. `result`: of the replay that drove the learner."""
        q, exposures = self.question, self._ledger.exposures()
        tail = exposures.shown_ms >= q.frozen_from_ms
        everything = np.ones(len(exposures), bool)
        out = []
        if q.ablate:
            names = [ALL_ON, *(compared.name for compared in self._compared)]
            rates = [result.examples / max(result.learned_s - self.main.watched_s, 1e-9), *(r.rate for r in self._compared)]
            comparison = Comparison(names, frozen=[frozen_name(n) for n in names], frozen_rows=tail, rates=rates)
            rows, why = measured(exposures, comparison, [("all", everything)], q.resamples)
            out.append(Finding(kind="ablation", title="Blocks switched off, one at a time", rows=rows, notes=[_TAIL_NOTE, *why]))
        if q.spans_ms:
            fits, begun_ms = _fitting(q.spans_ms, exposures.shown_ms)
            names = [span_name(span) for span in fits]
            ready = exposures.shown_ms >= begun_ms + 2 * max(fits)
            parts = [("all", ready), *((name, ready & (exposures.age_s >= low) & (exposures.age_s < high)) for name, low, high in AGES)]
            rows, why = measured(exposures, Comparison(names), parts, q.resamples)
            notes = [*_span_notes(q.spans_ms, fits), *why]
            out.append(Finding(kind="freshness", title="Parameters published every so often", rows=rows, notes=notes))
        if q.gammas:
            names = [gamma_name(ALL_ON, gamma) for gamma in q.gammas]
            frozen = [gamma_name(frozen_name(ALL_ON), gamma) for gamma in q.gammas]
            titles = [f"gamma_item {gamma:g}" for gamma in q.gammas]
            rows, why = measured(exposures, Comparison(names, titles, frozen, tail, top=TOP), [("all", everything)], q.resamples)
            uniform = self.uniform.exposures()
            if len(uniform):
                whole = np.ones(len(uniform), bool)
                of_second, why_of_second = measured(uniform, Comparison(names, titles, top=TOP), [("second log", whole)], q.resamples)
                rows, why = rows + of_second, why + why_of_second
            notes = [_GAMMA_NOTE, *_alike(rows), *why]
            out.append(Finding(kind="gamma", title="Popularity's part taken away", rows=rows, notes=notes))
        if (exposures.importance_weight > 1).any():
            out = [msgspec.structs.replace(finding, notes=[*finding.notes, _THINNED_NOTE]) for finding in out]
        return out


def tail_ms(arrivals: Iterable[Numbered]) -> int:
    """The moment at which the last 30 % of a log's records begin."""
    moments = [arrived.record.ts for _, arrived in arrivals if not isinstance(arrived.record, Rejected)]
    return sorted(moments)[int((1 - TAIL) * len(moments))] if moments else 0


_TAIL_NOTE = "AUC, NE and COPC are of one pass; GAUC is of the last 30 % of the log, predicted by what was known before it."
_SPAN_NOTE = "Measured on what was shown after every copy had been published to twice. GAUC is of one pass, alike for all."
_THINNED_NOTE = (
    "Of the exposures without an act only a share was kept (partition.negative_rate). Each counts as many as it was kept of: "
    "figures, n too, are estimates of those of all."
)
_SPANS = 4  # that a log must last: the first two are not exposures
_GAMMA_NOTE = f"top: mean label of the {TOP:.0%} of each user's exposures that are scored highest. {_TAIL_NOTE}"


def switched_off(model: ModelSettings, blocks: Sequence[str]) -> dict[str, ModelSettings]:
    """The settings with one of these blocks off each, by name."""
    return {f"no {name}": msgspec.structs.replace(model, **{name: 0.0 if name == "pairs" else False}) for name in blocks}


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
    """An interval between publications as a table calls it.

    >>> span_name(90_000), span_name(0)
    ('every 1.5 min', 'at once')
    """
    for unit, ms in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if span_ms >= ms:
            return f"every {span_ms / ms:g} {unit}"
    return f"every {span_ms} ms" if span_ms else "at once"


class Comparison(NamedTuple):
    """The models of a table; differences are to the first."""

    models: Sequence[str]
    titles: Sequence[str] = ()  # of their rows; the models' names where there are none
    frozen: Sequence[str] = ()  # names under which predictions for GAUC are kept, where they are others
    frozen_rows: Array | None = None  # bool [N]: the exposures that GAUC is read from, where they are others
    top: float | None = None  # share of each user's rows for the figure `top`
    rates: Sequence[float] = ()  # examples a second
    fewest: int = FEW_POSITIVES  # positives and negatives of a task


def _alike(rows: Sequence[Row]) -> list[str]:
    """Why shares of popularity's part make no difference to a task."""
    out = []
    for task in dict.fromkeys(row.task for row in rows):
        figures = {(row.part, row.auc, row.ne) for row in rows if row.task == task}
        shares = {row.name for row in rows if row.task == task}
        if len(shares) > 1 and len(figures) == len({part for part, *_ in figures}):
            none = f"it has none in {task}, only in {' and '.join(MOVED)}" if task not in MOVED else "nothing was learned of it"
            out.append(f"{task}: every share of popularity's part gives the same figures: {none}.")
    return out


def measured(
    exposures: PredictedExposures, comparison: Comparison, parts: Sequence[tuple[str, Array]], resamples: int
) -> tuple[list[Row], list[str]]:
    """A row for each part (its name, bool [N]), task and model, where positives and negatives are enough; and why others have none."""
    models, top = comparison.models, comparison.top
    frozen, titles = comparison.frozen or models, comparison.titles or models
    out, why = [], []
    for part, inside in parts:
        few = []
        for task, task_name in enumerate(TASKS):
            rows = _usable(exposures, inside, models, task)
            labels = exposures.labels[rows, task]
            positives = int(labels.sum())
            if min(positives, len(labels) - positives) < comparison.fewest:
                few.append(f"{task_name} ({positives:,} of {len(labels):,})")
                continue
            tail = rows if comparison.frozen_rows is None else _usable(exposures, inside & comparison.frozen_rows, frozen, task)
            users, of_tail = (Users(exposures.users[which], exposures.importance_weight[which]) for which in (rows, tail))
            figures = []
            for model in models:
                z, p = exposures.logits[model][rows, task], exposures.probabilities[model][rows, task]
                figures += [users.auc(z, labels), users.ne(p, labels), users.copc(p, labels)]
                figures += [users.top(z, labels, top)] if top else []
            read = users.read(figures, resamples)
            gaucs = np.full((1, len(frozen)), np.nan)
            if len(tail):
                within = [of_tail.gauc(exposures.logits[model][tail, task], exposures.labels[tail, task]) for model in frozen]
                gaucs = of_tail.read(within, resamples)
            if np.isnan(gaucs[0]).all():
                why.append(f"No GAUC of {task_name} ({part}): no user has both labels there.")
            for k, title in enumerate(titles):
                at = k * (4 if top else 3)
                out.append(
                    Row(
                        name=title, part=part, task=task_name, n=round(users.importance_weight.sum()),
                        positives=round(users.importance_weight @ labels),
                        auc=float(read[0, at]), ne=float(read[0, at + 1]), copc=float(read[0, at + 2]), gauc=float(gaucs[0, k]),
                        auc_more=interval(read[:, at] - read[:, 0]), ne_more=interval(read[:, at + 1] - read[:, 1]),
                        gauc_more=interval(gaucs[:, k] - gaucs[:, 0]),
                        top=float(read[0, at + 3]) if top else None, top_more=interval(read[:, at + 3] - read[:, 3]) if top else None,
                        rate=comparison.rates[k] if comparison.rates else None,
                    )
                )  # fmt: skip
        if few:
            why.append(f"No figures of {part}, with fewer than {comparison.fewest} positives or negatives: {', '.join(few)}.")
    return out, why


def _usable(exposures: PredictedExposures, inside: Array, names: Sequence[str], task: int) -> Array:
    """Exposures with a label that every model predicted."""
    there = inside & np.isfinite(exposures.labels[:, task])
    for name in names:
        there &= np.isfinite(exposures.logits[name][:, task]) if name in exposures.logits else False
    return np.flatnonzero(there)
