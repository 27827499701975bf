"""A log through the core, as the live system would have met it: every exposure predicted first, then learned from.

    rows -> decode -> Partition.apply -> Learner.apply

A file ends with a closing tick, as `segue send` ends it; a topic brings its own ticks.
"""
from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import msgspec
import xxhash
from msgspec.structs import replace

from online_model.metrics import WindowResult
from online_model.model_settings import linear
from online_model.tally import TaskMetrics
from replay.log_rows import DRAWN, LogRow
from replay.wording import message
from streams.core.join.decode import decode
from streams.core.join.events import EARLIEST_TS, Event, Exposure, LogBegin, Reason, Rejected, Tick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects, Outgoing, RejectedRecord
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.learning.live_value import StrategyValue
from streams.core.state.digest import digest

BATCH = 512  # rows at once: what the parts of the core gain from more is below the noise
KEPT_REJECTIONS = 5  # of each reason, with line and detail
FEW_EXAMPLES, SMALL_STEP = 1_000, 4  # of more examples than these, steps of fewer than those take most of the time for nothing
FEW_POSITIVES = 100  # below it a figure's error is larger than what changes of a model usually bring
LIVE_SPAN_MS = LearnerSettings().micro_batch_span_ms
CLOSING = Tick(ts=0, last=True)  # at the partition's own watermark, whatever the last row was


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was not used."""

    line: int
    reason: str
    detail: str
    message: str = ""  # the same for people: the field, what was found there, what to do


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a log. rows = events + the sums of `rejected`, `merged` and `left_out`; what was drawn is in none of them."""

    rows: int  # records in the log, elements of arrays counted singly
    drawn: int = 0  # exposures of items that were drawn beside acts: every figure of a log that has some is of drawn negatives
    events: int  # records used
    examples: int  # exposures that the model learned from
    rejected: dict[str, int]  # reason -> records
    merged: dict[str, int] = {}  # reason -> records that are one with another: repeats (`duplicate`), and what a format joins
    left_out: dict[str, int] = {}  # reason -> rows that stand for no event, as the format or the call says
    seconds: float
    learned_s: float  # of these in the learner
    metrics: dict[str, TaskMetrics]  # by task, over all scored exposures
    since_ms: int | None = None  # where asked for: …
    since: dict[str, TaskMetrics] = {}  # … the same over exposures shown from then on, of the same one pass
    digest: str  # of all state and parameters: equal logs and settings, equal digests
    digests: dict[str, str]  # the same by kind of state
    windows: list[WindowResult]  # of event time: 5 min, 1 h, 1 d
    strategies: list[StrategyValue] = []  # what each is worth, by the hour, where the log's lists were chosen by chance
    fading: dict[str, dict[str, TaskMetrics]]  # half-life -> task -> figures as of the end
    steps: int  # of the learner
    step_span_ms: int  # of event time: what an act waited for its step at most
    counted: dict[str, int]  # what else the partition and the learner counted
    rejections: list[Rejection]  # the first few of each reason
    notes: list[str]  # what this log can't tell, and what to mind
    first_ms: int  # event time of the first and the last record used
    last_ms: int


Numbered = tuple[int, Arrived]  # the line (offset of a topic) that it came from
Progress = Callable[[int, int], None]  # rows so far, event time in ms or -1


class Omissions:
    """Rows of one pass that make no event, by reason, and the first few of each."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.first: list[Rejection] = []

    def add(self, row: LogRow) -> None:
        """Count a row."""
        self.counts[row.omitted] = self.counts.get(row.omitted, 0) + 1
        if self.counts[row.omitted] <= KEPT_REJECTIONS:
            self.first.append(Rejection(line=row.line, reason=row.omitted, detail=row.omitted, message=row.omitted))

    def of(self, kind: str) -> dict[str, int]:
        """Reason -> rows, of a kind: `merged` or `left out`."""
        split = [(reason.partition(": "), n) for reason, n in sorted(self.counts.items())]
        return {reason or kind: n for (head, _, reason), n in split if head == kind}


def with_omissions(result: Result, omissions: Omissions) -> Result:
    """The result of a pass, with the rows that its reader left out."""
    return replace(
        result, rows=result.rows + sum(omissions.counts.values()), merged=result.merged | omissions.of("merged"),
        left_out=omissions.of("left out"), rejections=[*result.rejections, *omissions.first],
    )  # fmt: skip


def of_file(rows: Iterable[LogRow], earliest_ts: int = EARLIEST_TS, omissions: Omissions | None = None) -> Iterator[Numbered]:
    """Rows of a log as records that arrive: an offset a row, arrival as the row says, else at their own time.

    A row that makes no event is counted in `omissions`, and does not arrive.
    """
    offset = -1
    for row in rows:
        if row.omitted:
            if omissions is not None:
                omissions.add(row)
            continue
        offset += 1
        found = [Rejected(Reason.MALFORMED, row.problem, row.raw)] if row.problem else decode(row.raw, earliest_ts)
        for index, record in enumerate(found):
            if isinstance(record, Rejected):
                yield row.line, Arrived(offset, index, row.arrival_ms or 0, record, f"row-{offset}-{index}", record.raw)
            else:
                arrival = record.ts if row.arrival_ms is None else row.arrival_ms
                yield row.line, Arrived(offset, index, arrival, record, f"row-{offset}-{index}", row.raw)


def even(numbered: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    """Records in batches of BATCH."""
    while batch := list(islice(numbered, BATCH)):
        yield batch


def moments(numbered: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Records in batches of one event time; what can't be read belongs to the moment before it."""
    moment = -1
    batch: list[Numbered] = []
    for line, arrived in numbered:
        ts = moment if isinstance(arrived.record, Rejected) else arrived.record.ts
        if batch and ts != moment:
            yield batch
            batch = []
        moment = ts
        batch.append((line, arrived))
    if batch:
        yield batch


def run(
    arrivals: Iterable[Numbered],
    partition: Partition,
    learner: Learner,
    *,
    closing: bool,
    batches: Callable[[Iterator[Numbered]], Iterator[list[Numbered]]] = even,
    also: Callable[[int, Sequence[Outgoing]], None] = lambda partition, records: None,
    after: Callable[[Effects], None] = lambda effects: None,
) -> Result:
    """Drive the records through. `closing`: end with the tick that closes all joins, as `segue send` does.

    `batches`: cuts the records elsewhere than at every BATCH. `also`: is handed what the learner is handed.
    `after`: is handed all that a batch caused, once it is learned from.
    """
    began = time.monotonic()
    learned_s = 0.0
    journal = _Journal()

    def learn(records: Sequence[Outgoing]) -> None:
        nonlocal learned_s
        start = time.perf_counter()
        learner.apply(partition.number, records)
        learned_s += time.perf_counter() - start
        also(partition.number, records)

    for batch in batches(iter(arrivals)):
        effects = partition.apply([journal.saw(line, arrived) for line, arrived in batch])
        journal.rejected(effects.dead)
        learn(effects.examples)
        after(effects)
        for table in partition.tables.named().values():
            table.settle()
    if closing:
        end = Arrived(journal.offset + 1, 0, 0, CLOSING, "")
        learn(partition.apply([end]).examples)
    return _result(partition, learner, journal, time.monotonic() - began, learned_s)


def reported(records: Iterable[Numbered], progress: Progress) -> Iterator[Numbered]:
    """The records as they are; `progress` is called at every BATCH and at the end."""
    rows = 0
    for rows, (line, arrived) in enumerate(records, 1):
        yield line, arrived
        if rows % BATCH == 0:
            progress(rows, arrived.arrival_ms)
    progress(rows, -1)


def task_metrics(summary: object) -> dict[str, TaskMetrics]:
    """A summary of metrics by task, as results have it."""
    return msgspec.convert(summary, dict[str, TaskMetrics])


class _Journal:
    """What the driver itself sees go by."""

    def __init__(self) -> None:
        self.rows = 0
        self.offset = -1
        self.records: dict[tuple[int, int], tuple[int, bytes]] = {}  # offset and index -> line and bytes, of the batch at hand
        self.counts: dict[str, int] = {}
        self.first: list[Rejection] = []
        self.first_ms = -1
        self.requests = self.propensities = False
        self.drawn = 0  # exposures of drawn items
        self.places: dict[tuple[int, int], int] = {}  # of the batch at hand: place in the log of a drawn slate -> its drawn items

    def saw(self, line: int, arrived: Arrived) -> Arrived:
        self.offset = arrived.offset
        record = arrived.record
        if isinstance(record, Exposure) and record.strategy == DRAWN:
            self.places[arrived.offset, arrived.index] = len(record.slots) - 1
            return arrived
        self.rows += 1
        self.records[arrived.offset, arrived.index] = line, record.raw if isinstance(record, Rejected) else arrived.raw
        if not isinstance(record, Rejected | LogBegin | Tick):
            self.first_ms = record.ts if self.first_ms < 0 else self.first_ms
        if isinstance(record, Event):
            self.requests = self.requests or record.request_id is not None
            self.propensities = self.propensities or record.propensity is not None
        return arrived

    def rejected(self, dead: Iterable[RejectedRecord]) -> None:
        for letter in dead:
            if self.places.pop((letter.offset, letter.index), None) is not None:  # as its act is, which counts
                continue
            reason = str(letter.reason)
            self.counts[reason] = self.counts.get(reason, 0) + 1
            if self.counts[reason] <= KEPT_REJECTIONS:
                line, raw = self.records.get((letter.offset, letter.index), (letter.offset, letter.raw))
                wording = message(letter.reason, letter.detail, raw)
                self.first.append(Rejection(line=line, reason=reason, detail=letter.detail, message=wording))
        self.records.clear()
        self.drawn += sum(self.places.values())
        self.places.clear()


def whole(digests: dict[str, str]) -> str:
    """One hash of the hashes by kind, whatever their order.

    >>> whole({"a": "1", "b": "2"}) == whole({"b": "2", "a": "1"}) != whole({"a": "2", "b": "1"})
    True
    """
    return xxhash.xxh3_128_hexdigest("\n".join(f"{name}={value}" for name, value in sorted(digests.items())).encode())


def _result(partition: Partition, learner: Learner, journal: _Journal, seconds: float, learned_s: float) -> Result:
    metrics = task_metrics(learner.metrics.summary())
    rejected = {reason: n for reason, n in sorted(journal.counts.items()) if reason != Reason.DUPLICATE}
    repeated = {reason: n for reason, n in journal.counts.items() if reason == Reason.DUPLICATE}
    counted = {k: v for k, v in (partition.progress.counted | learner.counted).items() if not k.startswith("rejected:")}
    tables = partition.tables.named()
    in_order = [name for name, table in tables.items() if table.overflowed]
    digests = digest({name: table.rows() for name, table in tables.items()}, in_order) | learner.digest()
    return Result(
        rows=journal.rows,
        drawn=journal.drawn,
        events=journal.rows - sum(journal.counts.values()),
        examples=learner.counted.get("examples", 0),
        rejected=rejected,
        merged=repeated,
        seconds=seconds,
        learned_s=learned_s,
        metrics=metrics,
        digest=whole(digests),
        digests=digests,
        windows=learner.take_windows(),
        strategies=learner.take_values(),
        fading={f"{half_life // 3_600_000} h": task_metrics(tasks) for half_life, tasks in learner.metrics.fading().items()},
        steps=learner.version,
        step_span_ms=learner.settings.micro_batch_span_ms,
        counted=dict(sorted(counted.items())),
        rejections=journal.first,
        notes=list(_notes(counted, metrics, journal, learner)),
        first_ms=journal.first_ms,
        last_ms=partition.progress.watermark_ms,
    )


def _notes(counted: dict[str, int], metrics: dict[str, TaskMetrics], journal: _Journal, learner: Learner) -> Iterator[str]:
    steps, examples, span_ms = learner.version, learner.counted.get("examples", 0), learner.settings.micro_batch_span_ms
    implied = counted.get("implied_impressions", 0)
    if journal.drawn:
        yield (
            f"Negatives are drawn: {journal.drawn:,} exposures that nobody made, beside what was taken. Figures by task say how well the "
            "one is told from the other, nothing about rates; NE and COPC hold for the draw."
        )
    if not counted.get("impressions") and implied:
        yield (
            "This log has no exposures: every example was made by an act, so what was shown and left alone is not in it. "
            "Rates, NE and calibration hold among acts only; skips and dislikes are judged against plays, not against exposures."
        )
    elif implied:
        yield f"{implied:,} acts came without an impression before them and count as their own."
    if counted.get("unjoined") and not journal.drawn:  # of drawn slates, who drew them says it
        yield f"{counted['unjoined']:,} acts found no exposure within the join window: they moved state, but nothing was learned of them."
    if not journal.requests and not counted.get("exposures"):
        yield "There is no request id: lists are unknown, so nothing that compares items of one list (pairs, NDCG) can be measured."
    if not journal.propensities and not counted.get("exposures"):
        yield "There are no propensities: what another policy would have earned (off-policy evaluation) can't be answered."
    model = learner.trainer.settings
    if model == linear(model):
        yield (
            "Light: the linear path of the ranker alone has learned. Deep towers, CIN, attention, ID-Cross, the popularity effect and the "
            "pairwise loss are off, so these figures are below those of the full model."
        )
    if learner.identification.unidentified():
        yield "Popularity hardly moves within items (R2 on the item's id above 0.98): what it adds can't be told from what items are worth."
    if span_ms > LIVE_SPAN_MS and steps:
        yield (
            f"A step every {examples / steps:,.0f} examples, {span_ms / 1000:,.0f} s of event time at the latest, as suits the log's pace; "
            f"live it would be {LIVE_SPAN_MS:,} ms (--as-live)."
        )
    if steps * SMALL_STEP > examples > FEW_EXAMPLES:
        yield (
            f"Acts are far apart in this log: a step held {examples / steps:.1f} examples. Without --as-live and a span that was set, "
            "it replays many times faster, and learns of each act that much later."
        )
    if journal.rows and not any(figures.n for figures in metrics.values()):
        yield "No exposure could be scored: all figures by task are undefined."
    for task, figures in metrics.items():
        if figures.n and not figures.positives:
            yield f"{task}: no positive in this log; AUC, NE and COPC are undefined."
        elif figures.n and figures.positives == figures.n:
            yield f"{task}: no negative in this log; AUC and NE are undefined."
        elif figures.n and figures.positives < FEW_POSITIVES:
            yield f"{task}: {figures.positives:.0f} positives only; read its figures with their standard errors."
        if figures.auc == figures.auc and figures.gauc != figures.gauc:
            yield f"{task}: no user has both labels; GAUC is undefined."
    yield "GAUC of one pass is biased against whatever learns a user's own rate; compare ranking within users on a frozen tail."


def auc_error(figures: TaskMetrics) -> float:
    """Standard error of an AUC (Hanley and McNeil, Radiology 1982); NaN where there is no AUC."""
    a, p, n = figures.auc, figures.positives, figures.n - figures.positives
    if not (p > 0 and n > 0):
        return float("nan")
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return float(max(0.0, (a * (1 - a) + (p - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (p * n)) ** 0.5)
