"""How a listener reacts to a slate: v, the utility of an item to a listener, becomes acts at their times.

    P(skip) = s(skip_bias - v)      P(dislike | skip) = s(dislike_bias - v)      P(play) = 1 - P(skip)
    P(full | play) = s(full_bias + v)      P(collect | full) = s(collect_bias + v)      P(share | play) = s(share_bias + v)

All are monotone in v, so the order by v is the best order for every act. Listeners look at a slate from the top and
stop after each position with probability 1 - attention; a position with a play or a skip was seen. `played_ms` is time of
the material: between acts it passes `pace` times faster than in life. Half of the collects come with the play, most
others minutes after it, some when the join window may have closed; a few are taken back.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from replay.simulator.world import Session, World, WorldSettings
from streams.core.join.events import Action, Event, ExposedItem, Exposure
from streams.core.join.keys import HOUR_MS
from streams.core.join.rewards import RewardSettings

UTILITY = RewardSettings()  # of each act: what strategies are rewarded by (MODEL.md section 1)
# Columns of a position's uniform draws.
_STOP, _SKIP, _FULL, _COLLECT, _SHARE, _DISLIKE, _RATIO, _ALSO, _WHEN, _DELAY, _UNDO, _UNDO_DELAY = range(12)
_DWELL_CAP_MS = 400_000  # of one position, before pace: a long item is left running in the background
_COLLECT_AT_ONCE, _COLLECT_SOON = 0.5, 0.9  # half of the collects come with the play, 40 % soon after, 10 % much later
_SOON_MS, _LATE_MS, _UNDO_MS = 180_000.0, 6 * HOUR_MS, 3 * HOUR_MS  # mean delays, before pace
_UNDO_SHARE = 0.03  # of collects that are taken back
_REALISED = {
    Action.COLLECT: UTILITY.collect,
    Action.UNCOLLECT: -UTILITY.collect,
    Action.SHARE: UTILITY.share,
    Action.SKIP: UTILITY.skip,
    Action.DISLIKE: UTILITY.dislike,
}


class Reaction(NamedTuple):
    """What a listener did with the item at one position."""

    ts: int
    position: int
    item: int
    action: Action
    also: tuple[Action, ...] = ()
    played_ms: int | None = None
    full: bool | None = None


class ActProbabilities(NamedTuple):
    """Of each act on an item that is seen, each [n]."""

    full: np.ndarray
    collect: np.ndarray
    share: np.ndarray
    skip: np.ndarray
    dislike: np.ndarray


_WEIGHTS = (UTILITY.full_play, UTILITY.collect, UTILITY.share, UTILITY.skip, UTILITY.dislike)  # in the order of ActProbabilities


def sigmoid(z: np.ndarray) -> np.ndarray:
    """Probability of a logit.

    >>> float(sigmoid(np.float64(0.0)))
    0.5
    """
    return 1.0 / (1.0 + np.exp(-z))


def act_probabilities(settings: WorldSettings, v: np.ndarray) -> ActProbabilities:
    """Unconditional probabilities of all acts at utility v [n].

    >>> p = act_probabilities(WorldSettings(), np.zeros(1))
    >>> round(float(p.skip[0]), 4), round(float(p.full[0]), 4)
    (0.4013, 0.2993)
    """
    given = _conditional(settings, v)
    play = 1 - given.skip
    full = play * given.full
    return ActProbabilities(full, full * given.collect, play * given.share, given.skip, given.skip * given.dislike)


def _conditional(s: WorldSettings, v: np.ndarray) -> ActProbabilities:
    """Of each act, given the act that it needs: see the module's formulas."""
    full, collect, share = (sigmoid(bias + v) for bias in (s.full_bias, s.collect_bias, s.share_bias))
    return ActProbabilities(full, collect, share, sigmoid(s.skip_bias - v), sigmoid(s.dislike_bias - v))


def satisfaction(settings: WorldSettings, v: np.ndarray) -> np.ndarray:
    """Expected utility of the acts on a seen item at v [n]: the hidden figure that recommenders are compared by."""
    return sum((weight * p for weight, p in zip(_WEIGHTS, act_probabilities(settings, v), strict=True)), np.zeros(len(v)))


def realised(acts: Sequence[Reaction]) -> float:
    """Utility of the acts that were done.

    >>> realised([Reaction(1, 0, 5, Action.SKIP, (Action.DISLIKE,))])
    -4.5
    """
    total = 0.0
    for reaction in acts:
        if reaction.full:
            total += UTILITY.full_play
        for action in (reaction.action, *reaction.also):
            total += _REALISED.get(action, 0.0)
    return total


def looked(settings: WorldSettings, session: Session, n: int) -> int:
    """How many of n positions the listener looks at, from the top."""
    n = min(n, settings.slots)
    stops = np.flatnonzero(session.noise[1:n, _STOP] > settings.attention)
    return int(stops[0]) + 1 if len(stops) else n


def react(world: World, session: Session, items: Sequence[int], ts: int, pace: float | None = None) -> list[Reaction]:
    """What the listener does with a slate of these items exposed at ts, in time order. The world observes nothing yet."""
    s, pace = world.settings, pace or world.settings.pace
    seen = np.asarray(items[: looked(s, session, len(items))], np.int64)
    if not len(seen):
        return []
    v = world.utility(session, seen, ts)
    full, collect, share, skip, dislike = (p.tolist() for p in _conditional(s, v))
    duration = world.duration_ms[seen].tolist()
    acts: list[Reaction] = []
    clock = float(ts)
    for position, (item, u) in enumerate(zip(seen.tolist(), session.noise.tolist(), strict=False)):
        length = duration[position] or 600_000  # a live room: said by the source, ten minutes are the whole of it
        if u[_SKIP] < skip[position]:
            played = min(int(800 + 9_000 * u[_RATIO] ** 2), length // 4)
            clock += (1_000 + played) / pace
            at_once = u[_DISLIKE] < dislike[position] and u[_ALSO] < 0.5
            acts.append(Reaction(int(clock), position, item, Action.SKIP, (Action.DISLIKE,) if at_once else (), played))
            if u[_DISLIKE] < dislike[position] and not at_once:
                acts.append(Reaction(int(clock + 1 + 4_000 * u[_DELAY] / pace), position, item, Action.DISLIKE))
            continue
        whole = u[_FULL] < full[position]
        played = int(length * (0.96 + 0.04 * u[_RATIO] if whole else 0.05 + 0.75 * u[_RATIO]))
        clock += min(1_000 + played, _DWELL_CAP_MS) / pace
        at, also = int(clock), []
        if u[_SHARE] < share[position]:
            also.append(Action.SHARE)
        if whole and u[_COLLECT] < collect[position]:
            then = at
            if u[_WHEN] < _COLLECT_AT_ONCE:
                also.append(Action.COLLECT)
            else:
                mean = _SOON_MS if u[_WHEN] < _COLLECT_SOON else _LATE_MS
                then = at + 1 + int(mean / pace * -math.log1p(-u[_DELAY]))
                acts.append(Reaction(then, position, item, Action.COLLECT))
            if u[_UNDO] < _UNDO_SHARE:
                acts.append(Reaction(then + 1 + int(_UNDO_MS / pace * -math.log1p(-u[_UNDO_DELAY])), position, item, Action.UNCOLLECT))
        acts.append(Reaction(at, position, item, Action.PLAY, tuple(also), played, whole))
    return sorted(acts)


def event(
    world: World, session: Session, reaction: Reaction, event_id: str, request_id: str | None = None, propensity: float | None = None,
    module: str | None = None,
) -> Event:  # fmt: skip
    """An act as a record. A live room has no duration, so its source says whether it was a full play."""
    duration = int(world.duration_ms[reaction.item])
    played = reaction.played_ms is not None
    return Event(
        ts=reaction.ts,
        user_id=world.user_ids[session.listener],
        item_id=world.item_ids[reaction.item],
        action=reaction.action,
        event_id=event_id,
        also=reaction.also,
        full=reaction.full if played and not duration else None,
        played_ms=reaction.played_ms,
        duration_ms=duration if played and duration else None,
        domain=world.settings.domains[session.domain].name,
        request_id=request_id,
        position=reaction.position if request_id is not None or propensity is not None else None,
        module=module,
        propensity=propensity,
        context=session.context if request_id is None else {},
    )


def exposure(world: World, session: Session, slate: Sequence[ExposedItem], request_id: str, strategy: str | None = None) -> Exposure:
    """The slate of a session as a record."""
    return Exposure(
        ts=session.ts,
        user_id=world.user_ids[session.listener],
        request_id=request_id,
        slots=tuple(slate),
        event_id=f"{request_id}-x",
        domain=world.settings.domains[session.domain].name,
        strategy=strategy,
        context=session.context,
    )
