"""How a listener reacts to a list: v, what is felt about an item, becomes acts at their times.

    P(skip) = s(skip_bias - v)      P(dislike | skip) = s(dislike_bias - v)      P(play) = 1 - P(skip)
    P(full | play) = s(full_bias + v)      P(collect | full) = s(collect_bias + v)      P(share | play) = s(share_bias + v)

All are monotone in v, so the order by v is the best order for every act. Listeners look at a list from the top and
stop after each slot with chance 1 - attention; a slot with a play or a skip was seen. `played_ms` is time of the
material: between acts it passes `pace` times faster than in life. Half of the collects come with the play, most
others minutes after it, some when the join window may have closed; a few are taken back.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from replay.simulator.world import Session, World, WorldSettings
from streams.core.join.events import Action, Event
from streams.core.join.keys import HOUR_MS
from streams.core.join.rewards import RewardSettings

UTILITY = RewardSettings()  # of each act: what strategies are rewarded by (MODEL.md section 1)
# Columns of a slot's uniform draws.
_STOP, _SKIP, _FULL, _COLLECT, _SHARE, _DISLIKE, _RATIO, _ALSO, _WHEN, _DELAY, _UNDO, _UNDO_DELAY = range(12)
_DWELL_CAP_MS = 400_000  # of one slot, before pace: a long item is left running in the background
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
    """What a listener did with the item of one slot."""

    ts: int
    position: int
    item: int
    action: Action
    also: tuple[Action, ...] = ()
    played_ms: int | None = None
    full: bool | None = None


class Chances(NamedTuple):
    """Chances of the acts on a slot that is seen, unconditional, each [n]."""

    skip: np.ndarray
    dislike: np.ndarray
    full: np.ndarray
    collect: np.ndarray
    share: np.ndarray


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-z))


def chances(settings: WorldSettings, v: np.ndarray) -> Chances:
    """The chances of all acts at utility v [n]."""
    skip = _sigmoid(settings.skip_bias - v)
    full = (1 - skip) * _sigmoid(settings.full_bias + v)
    return Chances(
        skip=skip,
        dislike=skip * _sigmoid(settings.dislike_bias - v),
        full=full,
        collect=full * _sigmoid(settings.collect_bias + v),
        share=(1 - skip) * _sigmoid(settings.share_bias + v),
    )


def satisfaction(settings: WorldSettings, v: np.ndarray) -> np.ndarray:
    """Expected weighted acts of a seen slot at utility v [n]: the hidden figure that recommenders are compared by."""
    p = chances(settings, v)
    return (
        UTILITY.full_play * p.full
        + UTILITY.collect * p.collect
        + UTILITY.share * p.share
        + UTILITY.skip * p.skip
        + UTILITY.dislike * p.dislike
    )


def realised(acts: Sequence[Reaction]) -> float:
    """The same weights on what was done."""
    total = 0.0
    for act in acts:
        if act.full:
            total += UTILITY.full_play
        for action in (act.action, *act.also):
            total += _REALISED.get(action, 0.0)
    return total


def looked(settings: WorldSettings, session: Session, n: int) -> int:
    """How many of n slots the listener looks at, from the top."""
    n = min(n, settings.slots)
    stops = np.flatnonzero(session.noise[1:n, _STOP] > settings.attention)
    return int(stops[0]) + 1 if len(stops) else n


def react(world: World, session: Session, items: Sequence[int], ts: int, pace: float | None = None) -> list[Reaction]:
    """What the listener does with a list shown at ts, in time order. Nothing is observed yet."""
    s, pace = world.settings, pace or world.settings.pace
    shown = np.asarray(items[: looked(s, session, len(items))], np.int64)
    if not len(shown):
        return []
    v = world.utility(session, shown, ts)
    skip = _sigmoid(s.skip_bias - v).tolist()
    dislike = _sigmoid(s.dislike_bias - v).tolist()
    full = _sigmoid(s.full_bias + v).tolist()
    collect = _sigmoid(s.collect_bias + v).tolist()
    share = _sigmoid(s.share_bias + v).tolist()
    duration = world.duration_ms[shown].tolist()
    acts: list[Reaction] = []
    clock = float(ts)
    for position, (item, u) in enumerate(zip(shown.tolist(), session.noise.tolist(), strict=False)):
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
    world: World, session: Session, act: Reaction, event_id: str, request_id: str | None = None, propensity: float | None = None,
    module: str | None = None,
) -> Event:  # fmt: skip
    """An act as a record. A live room has no duration, so its source says whether it was a full play."""
    duration = int(world.duration_ms[act.item])
    played = act.played_ms is not None
    return Event(
        ts=act.ts,
        user_id=world.user_ids[session.listener],
        item_id=world.item_ids[act.item],
        action=act.action,
        event_id=event_id,
        also=act.also,
        full=act.full if played and not duration else None,
        played_ms=act.played_ms,
        duration_ms=duration if played and duration else None,
        domain=world.settings.domains[session.domain].name,
        request_id=request_id,
        position=act.position if request_id is not None or propensity is not None else None,
        module=module,
        propensity=propensity,
        context=session.context if request_id is None else {},
    )
