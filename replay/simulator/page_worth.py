"""What a page is worth to the listener who opens it, exactly: from the chances of the world, without luck.

What a slot adds to a page's utility is a multiple of .5, so the distribution of the sum over all slots that are looked at is a
convolution of small vectors, and the mean of its clipped share is exact: the `experience` that a strategy is rewarded with.
Shapes: n slots in the order of looking.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from replay.simulator.reactions import UTILITY, chances
from replay.simulator.world import WorldSettings

Array = np.ndarray

_STEP = 0.5  # all weights of acts are multiples of it
_REACH = 9  # steps, of one slot: a dislike with its skip takes so much, a full play with collect and share gives it
_SPAN = 2 * _REACH + 1


class Worth(NamedTuple):
    """What is expected of a page."""

    experience: float  # 0 to 1
    utility: float  # of all that is looked at
    looked: float  # slots


def gains(settings: WorldSettings, v: Array) -> Array:
    """Chances [n, _SPAN] of what a slot that is looked at adds at utility v [n], in steps from -_REACH to _REACH."""
    p = chances(settings, v)
    play = 1 - p.skip
    out = np.zeros((len(v), _SPAN))
    out[:, _place(UTILITY.skip)] = p.skip - p.dislike
    out[:, _place(UTILITY.skip + UTILITY.dislike)] = p.dislike
    shared = p.share / play  # of what is played, whatever else comes of it
    for weight, chance in ((0.0, play - p.full), (UTILITY.full_play, p.full - p.collect), (UTILITY.full_play + UTILITY.collect, p.collect)):
        out[:, _place(weight)] += chance * (1 - shared)
        out[:, _place(weight + UTILITY.share)] += chance * shared
    return out


def worth(settings: WorldSettings, v: Array, full: float) -> Worth:
    """Of a page whose slots are felt about as v [n]; a utility of `full` counts as the experience 1."""
    v = v[: settings.slots]
    n = len(v)
    if not n:
        return Worth(0.0, 0.0, 0.0)
    reached = settings.attention ** np.arange(n)  # chance to look at the slot
    left = reached * np.where(np.arange(n) < n - 1, 1 - settings.attention, 1.0)  # and at none below it
    added = gains(settings, v)
    experience, total = 0.0, np.ones(1)
    for k in range(n):
        total = np.convolve(total, added[k])
        steps = np.arange(len(total)) - (k + 1) * _REACH
        experience += float(left[k] * (total @ np.clip(steps * _STEP / full, 0.0, 1.0)))
    each = added @ ((np.arange(_SPAN) - _REACH) * _STEP)
    return Worth(experience, float(reached @ each), float(reached.sum()))


def _place(weight: float) -> int:
    return _REACH + round(weight / _STEP)
