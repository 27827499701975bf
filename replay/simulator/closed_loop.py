"""The simulator's closed loop in event time: listeners arrive, ask for a list, react to what they are shown.

`ClosedLoop` asks any recommender that can be called, hands it all records up to each request before the request,
and measures what only the simulator knows: how satisfied the listeners are expected to be with what was shown.
The same seed brings the same listeners at the same times with the same luck, so that two recommenders are compared
pair by pair. Here too: the recommenders that know everything, popularity alone, or nothing. Pages: `page_loop.py`.
"""
from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from replay.simulator.reactions import Reaction, event, react, realised, satisfaction
from replay.simulator.world import HOUR_MS, SCENES, Session, World
from streams.core.join.events import Action, Context, Event, ExposedItem, Exposure

Recommend = Callable[[str, int, int, str, Context], Sequence[ExposedItem]]  # user_id, ts, k, domain, context
Observe = Callable[[list[Event | Exposure]], None]  # records in time order
QUARTERS = 4
# 97.5 % quantiles of Student's t by degrees of freedom 1..30; past those the normal's.
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Interval(msgspec.Struct, frozen=True):
    """Mean of n independent figures and its 95 % interval (Student)."""

    mean: float
    low: float
    high: float
    n: int


def interval(figures: Sequence[float]) -> Interval:
    """Of paired differences, one a seed."""
    x = np.asarray(figures, float)
    if len(x) < 2:
        raise ValueError(f"an interval needs two figures at least, got {len(x)}")
    half = (_T[len(x) - 2] if len(x) - 2 < len(_T) else 1.96) * float(x.std(ddof=1)) / math.sqrt(len(x))
    mean = float(x.mean())
    return Interval(mean, mean - half, mean + half, len(x))


class LoopReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run in figures; quarters are of its sessions in time order."""

    sessions: int
    utility: float  # hidden expected satisfaction of a shown slot
    utility_quarters: tuple[float, ...]
    realised_quarters: tuple[float, ...]  # satisfaction that a session's acts add up to
    collect_rate: float  # collects a shown slot
    dislikes_per_1000_plays: float
    categories_per_user: float  # distinct, shown
    distinct_items: int  # shown
    short_lists: int  # fewer than k while the domain had them


@dataclass(slots=True)
class Outcome:
    """What a run left behind: figures by session, in time order, and counts."""

    listener: list[int] = field(default_factory=list)
    utility: list[float] = field(default_factory=list)
    realised: list[float] = field(default_factory=list)
    shown: int = 0
    plays: int = 0
    collects: int = 0
    dislikes: int = 0
    short_lists: int = 0
    items: set[int] = field(default_factory=set)
    categories: dict[int, set[int]] = field(default_factory=dict)

    def report(self) -> LoopReport:
        """The figures; a run without a session has none."""
        if len(self.utility) < QUARTERS:
            raise ValueError(f"a report needs {QUARTERS} sessions at least, got {len(self.utility)}")
        return LoopReport(
            sessions=len(self.utility),
            utility=float(np.mean(self.utility)),
            utility_quarters=_quarters(self.utility),
            realised_quarters=_quarters(self.realised),
            collect_rate=self.collects / max(self.shown, 1),
            dislikes_per_1000_plays=1_000 * self.dislikes / max(self.plays, 1),
            categories_per_user=float(np.mean([len(c) for c in self.categories.values()])) if self.categories else 0.0,
            distinct_items=len(self.items),
            short_lists=self.short_lists,
        )


def _quarters(figures: list[float]) -> tuple[float, ...]:
    return tuple(float(part.mean()) for part in np.array_split(np.asarray(figures), QUARTERS))


class Waiting:
    """Records that lie in the future, until their time has come: then the world takes them in, and whoever observes it."""

    def __init__(self, world: World, observe: Observe) -> None:
        self.world, self.observe = world, observe
        self._records: list[tuple[int, int, Event | Exposure]] = []
        self._made = 0

    def put(self, record: Event | Exposure) -> None:
        heapq.heappush(self._records, (record.ts, self._made, record))
        self._made += 1

    def deliver(self, until: int) -> None:
        """All that is due, in time order."""
        due: list[Event | Exposure] = []
        while self._records and self._records[0][0] <= until:
            record = heapq.heappop(self._records)[2]
            if isinstance(record, Event):
                self.world.observe(record)
            due.append(record)
        if due:
            self.observe(due)


class ClosedLoop:
    """One world served by one recommender. The seed is of arrivals and luck; the world has its own."""

    def __init__(self, world: World, seed: int, recommend: Recommend, observe: Observe, k: int = 10) -> None:
        self.world, self.seed, self.k = world, seed, k
        self.recommend = recommend
        self.outcome = Outcome()
        self.now_ms = world.settings.start_ms
        self._sessions = world.sessions(seed)
        self._waiting = Waiting(world, observe)

    def run(self, sessions: int) -> Outcome:
        """The next `sessions` sessions; may be called again to go on. What is due after the last one stays due."""
        for _ in range(sessions):
            self.step(next(self._sessions))
        return self.outcome

    def finish(self) -> None:
        """Deliver all acts still to come."""
        self._waiting.deliver(1 << 62)

    def step(self, session: Session) -> None:
        """1 deliver what happened before; 2 ask; 3 measure; 4 react, for later delivery."""
        self._waiting.deliver(session.ts)
        self.now_ms = session.ts
        world, outcome = self.world, self.outcome
        domain = world.settings.domains[session.domain].name
        user_id = world.user_ids[session.listener]
        slots = tuple(self.recommend(user_id, session.ts, self.k, domain, session.context))
        shown = [world.index[slot.item_id] for slot in slots]
        request_id = f"{self.seed}-{session.index}"
        acts: list[Reaction] = []
        if shown:
            exposure = Exposure(
                ts=session.ts,
                user_id=user_id,
                request_id=request_id,
                slots=slots,
                event_id=f"{request_id}-x",
                domain=domain,
                context=session.context,
            )
            self._waiting.put(exposure)
            acts = react(world, session, shown, session.ts)
            for n, act in enumerate(acts):
                self._waiting.put(event(world, session, act, f"{request_id}-{n}", request_id))
        v = world.utility(session, np.asarray(shown, np.int64), session.ts)
        outcome.listener.append(session.listener)
        outcome.utility.append(float(satisfaction(world.settings, v).mean()) if shown else 0.0)
        outcome.realised.append(realised(acts))
        outcome.shown += len(shown)
        outcome.short_lists += len(shown) < min(self.k, len(world.available(session.domain, session.ts)))
        outcome.items.update(shown)
        label = world.item_domain[shown] * world.settings.categories + world.item_category[shown]
        outcome.categories.setdefault(session.listener, set()).update(label.tolist())
        for act in acts:
            done = (act.action, *act.also)
            outcome.plays += Action.PLAY in done
            outcome.collects += Action.COLLECT in done
            outcome.dislikes += Action.DISLIKE in done


class Recent:
    """What each listener was shown in the last `window_ms`: shown again only when nothing else is left, oldest first."""

    def __init__(self, window_ms: int = 6 * HOUR_MS) -> None:
        self.window_ms = window_ms
        self._shown: dict[str, dict[int, int]] = {}

    def pick(self, user_id: str, ts: int, items: np.ndarray, score: np.ndarray, k: int) -> list[int]:
        """The k best by score [n] of items [n]; remembered as shown."""
        past = self._shown.setdefault(user_id, {})
        for item in [i for i, when in past.items() if when <= ts - self.window_ms]:
            del past[item]
        again = np.array([past.get(i, 0) for i in items.tolist()])
        best = items[np.lexsort((items, -score, again))[:k]].tolist()
        past.update(dict.fromkeys(best, ts))
        return best


class Oracle:
    """Knows the listeners: the best list there is for the next moment."""

    def __init__(self, world: World, recent: Recent | None = None) -> None:
        self.world, self.recent = world, recent or Recent()

    def __call__(self, user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        world = self.world
        session = _unlucky(world, user_id, ts, domain, context)
        items = world.available(session.domain, ts)
        return _slots(world, self.recent.pick(user_id, ts, items, world.utility(session, items, ts), k))


class Popular:
    """Popularity alone, the same for everybody but for what they were just shown."""

    def __init__(self, world: World, recent: Recent | None = None) -> None:
        self.world, self.recent = world, recent or Recent()

    def __call__(self, user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        items = self.world.available(self.world.domain[domain], ts)
        return _slots(self.world, self.recent.pick(user_id, ts, items, self.world.popularity(items, ts), k))


class Uniform:
    """Any available item with the same chance."""

    def __init__(self, world: World, seed: int, recent: Recent | None = None) -> None:
        self.world, self.recent = world, recent or Recent()
        self.rng = np.random.default_rng([seed, 3])

    def __call__(self, user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        items = self.world.available(self.world.domain[domain], ts)
        return _slots(self.world, self.recent.pick(user_id, ts, items, self.rng.random(len(items)), k))


def _slots(world: World, items: list[int]) -> list[ExposedItem]:
    return [ExposedItem(item_id=world.item_ids[item], position=n) for n, item in enumerate(items)]


def _unlucky(world: World, user_id: str, ts: int, domain: str, context: Context) -> Session:
    """A session as far as a recommender that knows the world can know it: mood and luck are left out."""
    scene = SCENES.index(str(context["scene"]))
    return Session(
        index=-1,
        ts=ts,
        listener=world.listener[user_id],
        domain=world.domain[domain],
        scene=scene,
        mood=0.0,
        noise=np.empty((0, 0)),
        context=context,
    )
