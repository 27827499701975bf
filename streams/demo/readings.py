"""What can be read of a running system from the topic `metrics`: rates, lag, freshness, AUC, now and over the last minutes."""
from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.core.learning.live_value import StrategyValue
from streams.core.serving.recommend import ALL
from streams.core.serving.surfaces import Varieties
from streams.kafka_io.messages import NOT_DECODED
from streams.kafka_io.topics import ISOLATION, TopicSettings, names
from streams.status import UNKNOWN, Histogram, LearnerStatus, ProcessStatus, StrategyStatus, SurfaceStatus, WorkerStatus, quantile

RATE_MS = 5_000  # a rate is over so long: a second of 200 events is noise
RECENT_MS = 60_000  # freshness "now" is that of the last minute
POINTS = 60  # of a curve
LOOK_MS = 5_000  # between two points of a strategy's curves
FIGURES = ("experience", "revenue", "regret", "categories", "overlap", "items", "dislikes")  # of a strategy; regret: to the best one
FADING_MS = 3_600_000  # a scored exposure weighs half after an hour of event time (metrics.HALF_LIVES_MS)
V = TypeVar("V")
replace = msgspec.structs.replace

REJECTED = "rejected:"  # begins the name of a count of records that were not used, by reason


class Freshness(NamedTuple):
    """Milliseconds; None: infinite, or nothing was measured."""

    p50: int | None
    p99: int | None


class Readings:
    """The newest record of every worker and of the learner, and some of what was before."""

    def __init__(self) -> None:
        self.workers: dict[str, WorkerStatus] = {}
        self.learner: LearnerStatus | None = None
        self.fresh: Counter[int] = Counter()  # of all feedback so far
        self.curves: dict[str, deque[float]] = {}  # events/s, examples/s, freshness, AUC by task, shares of plays, FIGURES by strategy
        self.variety: Varieties = {}  # of what simulated listeners were served, as it was last noted
        self.news = asyncio.Event()  # set by every record
        self._noted_ms = -LOOK_MS
        self._hours: dict[tuple[str, str], StrategyValue] = {}  # of strategies, the last ones that closed
        self._recent: deque[tuple[int, Histogram]] = deque()
        self._actions: deque[tuple[int, dict[str, int]]] = deque()
        self._counts: dict[str, deque[tuple[int, int]]] = {"events": deque(), "examples": deque()}

    async def follow(self, topics: TopicSettings) -> None:
        """Read `metrics` from its beginning, for ever."""
        at = TopicPartition(names(topics.prefix).metrics, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=topics.bootstrap, group_id=None, enable_auto_commit=False, isolation_level=ISOLATION)
        await consumer.start()
        try:
            consumer.assign([at])
            await consumer.seek_to_beginning(at)
            while True:
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        self.take(record.value or b"")
        finally:
            await consumer.stop()

    def take(self, value: bytes) -> None:
        """One record; windows of event time are passed over."""
        try:
            record = _decoder.decode(value)
        except NOT_DECODED:
            return
        match record:
            case WorkerStatus():
                self._take_worker(record)
            case StrategyValue():
                self._hours[record.surface, record.strategy] = record
            case LearnerStatus():
                self.learner = record
                self._rate("examples", record.at_ms, self.examples)
                for task, figures in self.figures().items():
                    self._point(task, figures.get("auc"))
        self.news.set()

    def note_actions(self, at_ms: int, actions: Mapping[str, int]) -> None:
        """Note what listeners have done so far: action to count; at most once a second."""
        if self._actions and at_ms < self._actions[-1][0] + 1_000:
            return
        _append(self._actions, at_ms, dict(actions), RECENT_MS)
        for curve, share in zip(("collects", "dislikes"), self.recent_shares(), strict=True):
            self._point(curve, share)

    def note_variety(self, at_ms: int, variety: Callable[[], Varieties]) -> None:
        """Note how varied the slates and pages of each strategy were; `variety` is called at most every LOOK_MS."""
        if at_ms < self._noted_ms + LOOK_MS:
            return
        self._noted_ms, self.variety = at_ms, variety()
        for row, figures in self.strategies().items():
            for name, value in figures.items():
                self._point(f"{row} {name}", value)

    def recent_shares(self) -> tuple[float | None, float | None]:
        """`shares` of the last minute."""
        if not self._actions:
            return None, None
        before, now = self._actions[0][1], self._actions[-1][1]
        return shares({action: n - before.get(action, 0) for action, n in now.items()})

    @property
    def counted(self) -> Counter[str]:
        """What all workers counted."""
        return sum((Counter(w.counted) for w in self.workers.values()), Counter())

    @property
    def events(self) -> int:
        """Events that were taken in."""
        return self.counted["events"]

    @property
    def examples(self) -> int:
        """Examples that were learned."""
        return self.learner.counted.get("examples", 0) if self.learner else 0

    @property
    def rejected(self) -> dict[str, int]:
        """Reason to records."""
        return {what.removeprefix(REJECTED): n for what, n in sorted(self.counted.items()) if what.startswith(REJECTED)}

    @property
    def lag(self) -> int | None:
        """Records that a worker or the learner has yet to take; None until both have reported, and where one doesn't know."""
        if self.learner is None or not self.workers:
            return None
        lags = [self.learner.lag, *(p.lag for w in self.workers.values() for p in w.partitions.values())]
        return None if UNKNOWN in lags else sum(lags)

    @property
    def unmeasured(self) -> int:
        """Feedback in versions that a replica has not taken (yet)."""
        measured = min((w.measured for w in self.workers.values()), default=0)
        return max((self.learner.acts if self.learner else 0) - measured, 0)

    @property
    def unlearned(self) -> int:
        """Feedback in no version that serves: the unmeasured, and what joined no exposure."""
        return self.counted["unjoined"] + self.unmeasured

    def freshness(self, unlearned: int) -> Freshness:
        """Of all feedback so far; `unlearned` counts as infinitely old."""
        return Freshness(quantile(self.fresh, 0.5, unlearned), quantile(self.fresh, 0.99, unlearned))

    def recent_freshness(self) -> Freshness:
        """Of the feedback that was learned in the last minute."""
        counts: Counter[int] = sum((Counter(h) for _, h in self._recent), Counter())
        return Freshness(quantile(counts, 0.5), quantile(counts, 0.99))

    def strategies(self) -> dict[str, dict[str, float | None]]:
        """FIGURES by surface and strategy ("page tail"), all of a surface first, then the likeliest; None: not known yet."""
        out: dict[str, dict[str, float | None]] = {}
        for surface, of in self.surfaces.items():
            best = max(one.experience for one in of.strategies.values())
            experience = sum(one.propensity * one.experience for one in of.strategies.values())
            revenue = sum(one.propensity * one.revenue for one in of.strategies.values())
            earned = {ALL: (experience, revenue)} | {
                name: (one.experience, one.revenue) for name, one in sorted(of.strategies.items(), key=lambda s: -s[1].propensity)
            }
            for name, (experience, revenue) in earned.items():
                v = self.variety.get(surface, {}).get(name)
                seen = (v.categories_per_user, v.overlap, v.distinct_items, v.dislikes_per_1000_plays) if v else (None,) * 4
                out[f"{surface} {name}"] = dict(zip(FIGURES, (experience, revenue, best - experience, *seen), strict=True))
        return out

    @property
    def surfaces(self) -> dict[str, SurfaceStatus]:
        """Status of the strategies, of the surfaces (page, list) on which one has been drawn and its reward is known.

        Where the newest hour has just closed and none is open, their values are those of that hour.
        """
        surfaces = self.learner.surfaces if self.learner else {}
        return {
            surface: replace(of, strategies={name: self._valued(surface, name, one) for name, one in of.strategies.items()})
            for surface, of in surfaces.items() if any(one.rounds for one in of.strategies.values())
        }  # fmt: skip

    def rate(self, what: str) -> float:
        """`events` or `examples` a second."""
        curve = self.curves.get(what)
        return curve[-1] if curve else 0.0

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Task to figures (`auc`, `n`, …), a scored exposure fading with a half-life of an hour of event time."""
        figures = self.learner.fading.get(FADING_MS, {}) if self.learner else {}
        return {task: dict(of_task) for task, of_task in figures.items()}

    def _valued(self, surface: str, name: str, one: StrategyStatus) -> StrategyStatus:
        hour = self._hours.get((surface, name))
        if one.value is not None or hour is None:
            return one
        return replace(one, value=hour.experience, value_error=hour.experience_error, ess=hour.ess)

    def _take_worker(self, status: WorkerStatus) -> None:
        self.workers[status.slot] = status
        self.fresh.update(status.freshness_ms)
        self._recent.append((status.at_ms, status.freshness_ms))
        while self._recent[0][0] <= status.at_ms - RECENT_MS:
            self._recent.popleft()
        for share in (0.5, 0.99):
            self._point(f"p{100 * share:g}", quantile(status.freshness_ms, share))
        self._rate("events", status.at_ms, self.events)

    def _rate(self, name: str, at_ms: int, count: int) -> None:
        track = self._counts[name]
        _append(track, at_ms, count, RATE_MS)
        start_ms, start = track[0]
        if at_ms > start_ms:
            self._point(name, 1000 * (count - start) / (at_ms - start_ms))

    def _point(self, curve: str, value: float | None) -> None:
        """A further point of a curve; none where the value is undefined."""
        if value is not None:
            self.curves.setdefault(curve, deque(maxlen=POINTS)).append(value)


def _append(track: deque[tuple[int, V]], at_ms: int, value: V, span_ms: int) -> None:
    """Append to a track that holds the last `span_ms`, and the newest value before them."""
    track.append((at_ms, value))
    while len(track) > 2 and track[1][0] <= at_ms - span_ms:
        track.popleft()


def shares(actions: Mapping[str, int]) -> tuple[float | None, float | None]:
    """Collects per play, and dislikes per 1,000 plays; None where nothing was played.

    >>> shares({"play": 400, "collect": 20, "dislike": 1})
    (0.05, 2.5)
    """
    plays = actions.get("play", 0)
    if not plays:
        return None, None
    return actions.get("collect", 0) / plays, 1000 * actions.get("dislike", 0) / plays


def squeezed(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: means of neighbours.

    >>> squeezed([1.0, 3.0, 5.0, 7.0], 2)
    [2.0, 6.0]
    """
    every, n = list(values), min(width, len(values))
    cuts = [len(every) * k // n for k in range(n + 1)] if n else []
    return [sum(every[a:b]) / (b - a) for a, b in pairwise(cuts)]


def bars(values: Sequence[float], width: int, low: float | None = None, high: float | None = None) -> str:
    """The last values as a line of bars, on a scale from `low` to `high`: the least and the greatest where not given.

    >>> bars([9, 0, 1, 2, 3, 4, 5, 6, 7], 8)
    '▁▂▃▄▅▆▇█'
    """
    last = list(values)[-width:]
    if not last:
        return ""
    floor, top = min(last) if low is None else low, max([*last, last[0] if high is None else high])
    steps = [int((value - floor) / (top - floor) * len(_BARS)) if top > floor else 0 for value in last]
    return "".join(_BARS[min(max(step, 0), len(_BARS) - 1)] for step in steps)


_BARS = "▁▂▃▄▅▆▇█"
_decoder: msgspec.json.Decoder[ProcessStatus | StrategyValue] = msgspec.json.Decoder(ProcessStatus | StrategyValue)
