"""`segue replay`: builds partition and learner, with the models, replicas and holdout rows that are measured beside them, drives the
log through them, and collects what was measured.
"""
from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from msgspec import to_builtins
from msgspec.structs import replace

from online_model import devices
from online_model.metrics import Prequential
from online_model.trainer import Trainer
from replay import brief, prequential, report
from replay.evidence import findings, next_page
from replay.evidence.holdout import HoldoutRows, Stop, Tail, of_acts, stopping
from replay.evidence.next_found import NextFound
from replay.evidence.next_play import NextPlay, NextSettings, Session
from replay.evidence.tables import SPANS_MS, Evidence, Finding, Question, tail_ms
from replay.options import CoreSettings, ReplayOptions
from replay.prequential import Numbered, Omissions, Progress, Result, task_metrics
from replay.suited import memory, pace, retrieved
from replay.suited.retrieved import Retrieved
from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.learning.learn import Learner
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.surfaces import arms
from streams.core.state.tables import Overflow, RowStore, Tables

if TYPE_CHECKING:
    from replay.evidence.predictions import Predictions

IDS_IN_MEMORY = 1_000_000  # of events within the dedupe window


class Source(NamedTuple):
    """A log that can be read more than once, and what comes with it."""

    arrivals: Callable[[], Iterator[Numbered]]
    items: Iterable[Item] = ()  # the catalog, loaded before the first record
    closing: bool = True  # end with the tick that closes all joins: a file needs it, a topic has ticks of its own
    session: Session = lambda event: None  # the session that the log itself assigns to an event
    holdout: Callable[[], Iterator[Numbered]] = lambda: iter(())  # a second log: predicted, never learned from
    counting: Callable[[Omissions], Iterator[Numbered]] | None = None  # `arrivals`, what makes no event counted
    notes: Callable[[], Iterable[str]] = tuple  # what is to be known of the log, asked for after it was read


class PredictionFile(NamedTuple):
    """What `--predictions` has written."""

    file: str
    rows: int


class Outcome(NamedTuple):
    """What a replay measured."""

    result: Result
    histogram: np.ndarray  # int64 [tasks, 3, bins] of all scored exposures
    findings: list[Finding]  # the tables that ablate, freshness and gammas asked for
    next_plays: NextFound | None
    predicted: PredictionFile | None = None

    @property
    def evidence(self) -> list[Finding | NextFound]:
        """What was measured beside the result."""
        return [self.next_plays] if self.next_plays else [*self.findings]

    def document(self) -> dict[str, Any]:
        """All of it for JSON, of bounded size."""
        out = brief.document(self.result) | ({"evidence": to_builtins(self.evidence)} if self.evidence else {})
        return out | ({"predictions": self.predicted._asdict()} if self.predicted else {})


def replay(
    source: Source, settings: CoreSettings, options: ReplayOptions, progress: Progress, store: Callable[[], RowStore] | None = None
) -> Outcome:  # fmt: skip
    """Run a log through partition and learner. Raises LogError at a log that can't be replayed as asked.

    `store` opens one on disk, for the ids of events beyond IDS_IN_MEMORY within the dedupe window; without it all stay in memory.
    """
    if options.predictions is None:
        return _replayed(source, settings, options, progress, store)
    from replay.evidence import predictions  # loads polars

    with predictions.written(options.predictions) as rows:
        outcome = _replayed(source, settings, options, progress, store, rows)
    return outcome._replace(predicted=PredictionFile(str(options.predictions), rows.rows))


def _replayed(
    source: Source, settings: CoreSettings, options: ReplayOptions, progress: Progress, store: Callable[[], RowStore] | None,
    rows: Predictions | None = None,
) -> Outcome:  # fmt: skip
    devices.use_threads(settings.threads)
    gc.set_threshold(100_000, 20, 100)  # as a live process: states are small objects without cycles; looking for some took a twelfth
    live = settings
    if not options.remembers_as_live:
        settings = memory.suited(settings, source.arrivals())
    catalog = Catalog()
    known = [catalog.put(item) for item in source.items]
    tables = Tables.over(ids=Overflow(IDS_IN_MEMORY, store) if store else None)
    partition = Partition(settings.partition, tables, catalog, options.partition)
    device = devices.chosen(options.device)
    if not options.as_live:
        settings = replace(settings, learner=pace.suited(settings.learner, source.arrivals()))

    def drive(learner: Learner, **hooks: Any) -> Result:
        since, since_ms, omissions = Prequential(), options.since_ms, Omissions()
        if since_ms is not None:
            learner.watchers.append(lambda ts, *scored: since.score(ts, *scored) if ts >= since_ms else None)
        of_draw = list[str]()
        if not options.as_logged and retrieved.draws(source.arrivals()):
            of_draw.append(retrieved.NOTE)
            hooks = Retrieved(settings.recommend, partition, known).following(**hooks)
        if rows is not None:
            hooks = rows.following(learner, **hooks)
        arrivals = source.counting(omissions) if source.counting else source.arrivals()
        records = prequential.reported(arrivals, progress)
        result = prequential.with_omissions(prequential.run(records, partition, learner, closing=source.closing, **hooks), omissions)
        result = replace(result, notes=[*source.notes(), *of_draw, *memory.note(live, settings), *result.notes])
        return result if since_ms is None else replace(result, since_ms=since_ms, since=task_metrics(since.summary()))

    if options.ablate or options.freshness or options.gammas:
        evidence = _evidence(source, settings, options, device)
        learner = evidence.learner
        result = drive(learner, batches=stopping(_stops(source, partition, evidence)), also=evidence.also)
        return Outcome(result, _histogram(learner), evidence.findings(result), None)
    strategy_bandit = StrategyBandit(arms(settings.pages, settings.recommend), settings.bandit)
    learner = Learner(settings.learner, Trainer(settings.model, device), strategy_bandit)
    if options.next_k is None:
        return Outcome(drive(learner), _histogram(learner), [], None)
    slates = NextSettings(k=options.next_k, every=options.next_every, yardsticks=options.yardsticks)
    questions = NextPlay(slates, settings.recommend, partition, learner, known, source.session)
    result = drive(learner, batches=questions.batches, after=questions.after)
    return Outcome(result, _histogram(learner), [], questions.found())


def _evidence(source: Source, settings: CoreSettings, options: ReplayOptions, device: str) -> Evidence:
    """The models that are compared. A holdout log that can't be used is refused here, before a long pass."""
    frozen_from_ms = tail_ms(source.arrivals())
    question = Question(ablate=options.ablate, spans_ms=SPANS_MS * options.freshness, gammas=options.gammas, frozen_from_ms=frozen_from_ms)
    for _ in of_acts(source.holdout()):
        pass
    return Evidence(question, settings.model, settings.learner, device)


def _stops(source: Source, partition: Partition, evidence: Evidence) -> list[Stop]:
    """What is predicted between the records of the log: holdout rows at their time, and the log's tail as of its beginning."""
    question = evidence.question
    stops: list[Stop] = [HoldoutRows(source.holdout(), partition, evidence.ask, evidence.uniform)]
    if question.ablate or question.gammas:
        stops.append(Tail(source.arrivals, partition, evidence.ask_tail, question.frozen_from_ms))
    return stops


def _histogram(learner: Learner) -> np.ndarray:
    return learner.metrics.arrays()["total.histogram"]


def write_report(folder: Path, outcome: Outcome, settings: Sequence[report.Setting], title: str) -> Path:
    """Write index.html and result.json into the folder; gives the page's path."""
    sections = list(findings.sections(outcome.findings))
    if outcome.next_plays:
        sections.append(next_page.section(outcome.next_plays))
    return report.write(folder, outcome.result, outcome.histogram, settings, title, sections, outcome.evidence)


def refusal(outcome: Outcome) -> str | None:
    """Why the replay says nothing of the log; None where it does."""
    return report.refusal(outcome.result)


def tables(outcome: Outcome) -> Iterator[Any]:
    """The outcome for a terminal; lists are the headline of a log whose negatives are drawn."""
    parts = [report.summary(outcome.result), findings.tables(outcome.findings)]
    if outcome.next_plays:
        parts.insert(0 if outcome.result.drawn else 2, next_page.table(outcome.next_plays))
    for part in parts:
        yield from part
