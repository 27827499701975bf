"""Recommenders to compare with, and a run in figures: the best slate, popularity alone, any item alike."""
from __future__ import annotations

import msgspec
import numpy as np

from replay.simulator.closed_loop import ClosedLoop
from replay.simulator.reactions import realised
from replay.simulator.world import SCENES, Session, World
from streams.core.join.events import Action, Context, ExposedItem
from streams.core.join.keys import HOUR_MS

QUARTERS = 4


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


def loop_report(loop: ClosedLoop) -> LoopReport:
    """The figures; a run without a session has none."""
    visits = loop.visits
    if len(visits) < QUARTERS:
        raise ValueError(f"a report needs {QUARTERS} sessions at least, got {len(visits)}")
    actions = [action for visit in visits for act in visit.acts for action in (act.action, *act.also)]
    categories: dict[int, set[int]] = {}
    for visit in visits:
        categories.setdefault(visit.listener, set()).update(loop.world.label[visit.items].tolist())
    return LoopReport(
        sessions=len(visits),
        utility=float(np.mean([visit.utility for visit in visits])),
        utility_quarters=_quarters([visit.utility for visit in visits]),
        realised_quarters=_quarters([realised(visit.acts) for visit in visits]),
        collect_rate=actions.count(Action.COLLECT) / max(sum(len(visit.items) for visit in visits), 1),
        dislikes_per_1000_plays=1_000 * actions.count(Action.DISLIKE) / max(actions.count(Action.PLAY), 1),
        categories_per_user=float(np.mean([len(c) for c in categories.values()])),
        distinct_items=len({item for visit in visits for item in visit.items}),
        short_lists=sum(visit.short for visit in visits),
    )


def _quarters(figures: list[float]) -> tuple[float, ...]:
    return tuple(float(part.mean()) for part in np.array_split(np.asarray(figures), QUARTERS))


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
    """Knows the listeners: the best slate for the next moment."""

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
