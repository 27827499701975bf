"""Feedback of an event: which labels its actions set, whether they resolve an exposure, what enters the histories."""
from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from online_model import history
from online_model.features import TASKS
from online_model.popularity import POPULAR
from streams.core.join.events import Action, Event
from streams.core.join.settings import PartitionSettings

FULL_PLAY, COLLECT, SHARE, SKIP, DISLIKE = (1 << t for t in range(len(TASKS)))
PARTIAL_PLAY = 1 << len(TASKS)
LABELS = PARTIAL_PLAY - 1
RESOLVING = {Action.PLAY, Action.SKIP, Action.DISLIKE, Action.COLLECT, Action.SHARE}
DELAYED = {Action.COLLECT, Action.SHARE, Action.DISLIKE, Action.UNCOLLECT}  # belong to what was shown, also long after
GOOD = {Action.PLAY, Action.COLLECT, Action.SHARE}


class Feedback(NamedTuple):
    """An event's actions as labels and behaviours."""

    impression: bool
    resolving: bool
    delayed: bool  # nothing but acts that may come long after the exposure
    undo: bool  # takes a collect back
    mask: int  # labels set, bit t = TASKS[t]
    positive: int  # code for the positive history, 0 = none
    negative: int  # code for the negative history, 0 = none
    popular: int  # POPULAR where it counts for the item's popularity, else 0
    timed: bool  # a play or a skip: how long it was played is how long the user stayed
    tier_mask: int  # `mask`, and a bit for a partial play: no label, but better than none in a slate (MODEL.md section 1)


def interpret(event: Event, settings: PartitionSettings) -> Feedback:
    """Labels and behaviours of an event (tiers and families: MODEL.md sections 1 and 2).

    `full` overrides the play ratio; a play of unknown ratio is partial. A play below `partial_play_ratio` enters no history.
    """
    ratio = event.played_ms / event.duration_ms if event.played_ms is not None and event.duration_ms else None
    full = event.full if event.full is not None else ratio is not None and ratio >= settings.full_play_ratio
    return _interpret(event.action, event.also, full, ratio is None or ratio >= settings.partial_play_ratio)


@lru_cache(maxsize=1 << 12)
def _interpret(action: Action, also: tuple[Action, ...], full: bool, partial: bool) -> Feedback:
    actions = {action, *also}
    undo = Action.UNCOLLECT in actions  # beside a collect of the same moment: what is left is not collected
    if undo:
        actions.discard(Action.COLLECT)
    mask = positive = negative = 0
    if Action.PLAY in actions:
        if full:
            mask, positive = FULL_PLAY, history.FULL_PLAY
        elif partial:
            positive = history.PARTIAL_PLAY
    if Action.SHARE in actions:
        mask, positive = mask | SHARE, history.SHARE
    if Action.COLLECT in actions:  # before the share: an undo must find it
        mask, positive = mask | COLLECT, history.COLLECT
    if Action.SKIP in actions:
        mask, negative = mask | SKIP, history.SKIP
    if Action.DISLIKE in actions:
        mask, negative = mask | DISLIKE, history.DISLIKE
    return Feedback(
        impression=Action.IMPRESSION in actions,
        resolving=not RESOLVING.isdisjoint(actions),
        delayed=actions <= DELAYED,
        undo=undo,
        mask=mask,
        positive=positive,
        negative=negative,
        popular=POPULAR if not GOOD.isdisjoint(actions) else 0,
        timed=Action.PLAY in actions or Action.SKIP in actions,
        tier_mask=mask | (PARTIAL_PLAY if positive == history.PARTIAL_PLAY else 0),
    )
