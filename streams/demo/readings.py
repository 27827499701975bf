"""What can be read of a running system from the topic `metrics`: rates, lag, freshness, AUC, now and over the last minutes."""
from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.core.learning.live_value import StrategyValue
from streams.core.serving.recommend import ALL
from streams.core.serving.surfaces import Varieties
from streams.kafka_io.topics import TopicSettings, names
from streams.status import Histogram, LearnerStatus, Standing, StrategyStatus, SurfaceStatus, WorkerStatus, quantile

RATE_MS = 5_000  # a rate is over so long: a second of 200 events is noise
RECENT_MS = 60_000  # freshness "now" is that of the last minute
POINTS = 60  # of a curve
LOOK_MS = 5_000  # between two points of a strategy's curves
FIGURES = ("experience", "revenue", "regret", "categories", "overlap", "items", "dislikes")  # of a strategy; regret: to the best one
FADING_MS = 3_600_000  # a scored exposure weighs half after an hour of event time (metrics.HALF_LIVES_MS)
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
        self.fresh: Counter[int] = Counter()  # of all acts so far
        self.curves: dict[str, deque[float]] = {}  # events/s, examples/s, freshness, AUC by task, shares of plays, FIGURES by strategy
        self.variety: Varieties = {}  # of what simulated listeners were shown, as it was last looked at
        self.news = asyncio.Event()  # set by every record
        self._looked_ms = -LOOK_MS
        self._hours: dict[tuple[str, str], StrategyValue] = {}  # of strategies, the last ones that closed
        self._recent: deque[tuple[int, Histogram]] = deque()
        self._actions: deque[tuple[int, dict[str, int]]] = deque()
        self._events: deque[tuple[int, int]] = deque()
        self._examples: deque[tuple[int, int]] = deque()

    async def follow(self, topics: TopicSettings) -> None:
        """Read `metrics` from its beginning, for ever."""
        at = TopicPartition(names(topics.prefix).metrics, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=topics.bootstrap, group_id=None, enable_auto_commit=False)
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
            standing = _standing.decode(value)
        except msgspec.DecodeError:
            return
        if isinstance(standing, WorkerStatus):
            self._worker(standing)
        elif isinstance(standing, StrategyValue):
            self._hours[standing.surface, standing.strategy] = standing
        else:
            self.learner = standing
            self._rate("examples", self._examples, standing.at_ms, self.examples)
            for task, figures in standing.fading.get(FADING_MS, {}).items():
                auc = figures.get("auc")
                if auc is not None:
                    self._point(task, auc)
        self.news.set()

    def hear(self, at_ms: int, actions: Mapping[str, int]) -> None:
        """What listeners have done so far; taken once a second."""
        track = self._actions
        if track and at_ms < track[-1][0] + 1_000:
            return
        track.append((at_ms, dict(actions)))
        while len(track) > 2 and track[1][0] <= at_ms - RECENT_MS:
            track.popleft()
        for curve, share in zip(("collects", "dislikes"), self.recent_shares(), strict=True):
            if share is not None:
                self._point(curve, share)

    def look(self, at_ms: int, variety: Callable[[], Varieties]) -> None:
        """What listeners were shown; asked every LOOK_MS."""
        if at_ms < self._looked_ms + LOOK_MS:
            return
        self._looked_ms, self.variety = at_ms, variety()
        for row, figures in self.strategies().items():
            for name, value in figures.items():
                if value is not None:
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
        """Acts that were taken in."""
        return self.counted["events"]

    @property
    def examples(self) -> int:
        return self.learner.counted.get("examples", 0) if self.learner else 0

    @property
    def rejected(self) -> dict[str, int]:
        """Reason to records."""
        return {what.removeprefix(REJECTED): n for what, n in sorted(self.counted.items()) if what.startswith(REJECTED)}

    @property
    def lag(self) -> int | None:
        """Records that a worker or the learner has yet to take; None until both have spoken."""
        if self.learner is None or not self.workers:
            return None
        return self.learner.lag + sum(p.lag for w in self.workers.values() for p in w.partitions.values())

    @property
    def unmeasured(self) -> int:
        """Acts in versions that a copy has not taken (yet)."""
        measured = min((w.measured for w in self.workers.values()), default=0)
        return max((self.learner.acts if self.learner else 0) - measured, 0)

    @property
    def unlearned(self) -> int:
        """Acts without a version that answers: the unmeasured, and those that joined no exposure."""
        return self.counted["unjoined"] + self.unmeasured

    def freshness(self, unlearned: int) -> Freshness:
        """Of all acts so far, so many infinitely old ones among them."""
        return Freshness(quantile(self.fresh, 0.5, unlearned), quantile(self.fresh, 0.99, unlearned))

    def recent_freshness(self) -> Freshness:
        """Of the acts that were learned in the last minute."""
        counts: Counter[int] = sum((Counter(h) for _, h in self._recent), Counter())
        return Freshness(quantile(counts, 0.5), quantile(counts, 0.99))

    def strategies(self) -> dict[str, dict[str, float | None]]:
        """FIGURES by surface and strategy ("page tail"), all of a surface first, then the likeliest; None: not known yet."""
        out: dict[str, dict[str, float | None]] = {}
        for surface, of in self.surfaces.items():
            best = max(one.experience for one in of.strategies.values())
            experience = sum(one.chance * one.experience for one in of.strategies.values())
            revenue = sum(one.chance * one.revenue for one in of.strategies.values())
            earned = {ALL: (experience, revenue)} | {
                name: (one.experience, one.revenue) for name, one in sorted(of.strategies.items(), key=lambda s: -s[1].chance)
            }
            for name, (experience, revenue) in earned.items():
                v = self.variety.get(surface, {}).get(name)
                seen = (v.categories_per_user, v.overlap, v.distinct_items, v.dislikes_per_1000_plays) if v else (None,) * 4
                out[f"{surface} {name}"] = dict(zip(FIGURES, (experience, revenue, best - experience, *seen), strict=True))
        return out

    @property
    def surfaces(self) -> dict[str, SurfaceStatus]:
        """How strategies stand, on the surfaces (page, list) on which one has been drawn and come to something.

        Where the newest hour has just closed and none is open, their values are those of that hour.
        """
        told = self.learner.surfaces if self.learner else {}
        return {
            surface: replace(of, strategies={name: self._valued(surface, name, one) for name, one in of.strategies.items()})
            for surface, of in told.items() if any(one.rounds for one in of.strategies.values())
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

    def _worker(self, standing: WorkerStatus) -> None:
        self.workers[standing.slot] = standing
        self.fresh.update(standing.freshness_ms)
        self._recent.append((standing.at_ms, standing.freshness_ms))
        while self._recent[0][0] <= standing.at_ms - RECENT_MS:
            self._recent.popleft()
        for share in (0.5, 0.99):
            value = quantile(standing.freshness_ms, share)
            if value is not None:
                self._point(f"p{100 * share:g}", value)
        self._rate("events", self._events, standing.at_ms, self.events)

    def _rate(self, what: str, track: deque[tuple[int, int]], at_ms: int, n: int) -> None:
        track.append((at_ms, n))
        while len(track) > 2 and track[1][0] <= at_ms - RATE_MS:
            track.popleft()
        passed = track[-1][0] - track[0][0]
        if passed > 0:
            self._point(what, 1000 * (track[-1][1] - track[0][1]) / passed)

    def _point(self, curve: str, value: float) -> None:
        self.curves.setdefault(curve, deque(maxlen=POINTS)).append(value)


def shares(actions: Mapping[str, int]) -> tuple[float | None, float | None]:
    """Collects per play, and dislikes per 1,000 plays; None where nothing was played."""
    plays = actions.get("play", 0)
    if not plays:
        return None, None
    return actions.get("collect", 0) / plays, 1000 * actions.get("dislike", 0) / plays


def squeezed(values: Sequence[float], width: int) -> list[float]:
    """At most `width` values: means of what stands side by side."""
    shown, n = list(values), min(width, len(values))
    cuts = [len(shown) * k // n for k in range(n + 1)] if n else []
    return [sum(shown[a:b]) / (b - a) for a, b in pairwise(cuts)]


def bars(values: Sequence[float], width: int, low: float | None = None, high: float | None = None) -> str:
    """The last values as a line of bars, on a scale from `low` to `high`: the least and the greatest where not given."""
    shown = list(values)[-width:]
    if not shown:
        return ""
    floor, top = min(shown) if low is None else low, max([*shown, shown[0] if high is None else high])
    steps = [int((value - floor) / (top - floor) * len(_BARS)) if top > floor else 0 for value in shown]
    return "".join(_BARS[min(max(step, 0), len(_BARS) - 1)] for step in steps)


_BARS = "▁▂▃▄▅▆▇█"
_standing: msgspec.json.Decoder[Standing | StrategyValue] = msgspec.json.Decoder(Standing | StrategyValue)
