"""What a page is worth to the listener who opens it, exactly: from the probabilities of the world, without luck.

What an item adds to a page's utility is a multiple of .5, so the distribution of the sum over all items that are looked at is a
convolution of small vectors, and the mean of its clipped share is exact: the `experience` that a strategy is rewarded with.
Shapes: n items in the order of looking.
"""
from __future__ import annotations

import numpy as np

from replay.simulator.reactions import UTILITY, act_probabilities
from replay.simulator.world import WorldSettings

Array = np.ndarray

_STEP = 0.5  # all weights of acts are multiples of it
_REACH = 9  # steps, of one item: a dislike with its skip takes so much, a full play with collect and share gives it
_SPAN = 2 * _REACH + 1


def gains(settings: WorldSettings, v: Array) -> Array:
    """Distribution [n, _SPAN] of what an item that is looked at adds at utility v [n], in steps from -_REACH to _REACH."""
    p = act_probabilities(settings, v)
    play = 1 - p.skip
    out = np.zeros((len(v), _SPAN))
    out[:, _place(UTILITY.skip)] = p.skip - p.dislike
    out[:, _place(UTILITY.skip + UTILITY.dislike)] = p.dislike
    shared = p.share / play  # of what is played, whatever else comes of it
    full, collected = UTILITY.full_play, UTILITY.full_play + UTILITY.collect
    for weight, probability in ((0.0, play - p.full), (full, p.full - p.collect), (collected, p.collect)):
        out[:, _place(weight)] += probability * (1 - shared)
        out[:, _place(weight + UTILITY.share)] += probability * shared
    return out


def expected_experience(settings: WorldSettings, v: Array, full: float) -> float:
    """Of a page whose items have the utilities v [n], 0 to 1; a total of `full` counts as the experience 1.

    >>> expected_experience(WorldSettings(), np.zeros(0), 2.0)
    0.0
    """
    v = v[: settings.slots]
    n = len(v)
    reached = settings.attention ** np.arange(n)  # probability of looking at the item
    left = reached * np.where(np.arange(n) < n - 1, 1 - settings.attention, 1.0)  # and at none below it
    experience, total = 0.0, np.ones(1)
    for k, added in enumerate(gains(settings, v)):
        total = np.convolve(total, added)
        steps = np.arange(len(total)) - (k + 1) * _REACH
        experience += float(left[k] * (total @ np.clip(steps * _STEP / full, 0.0, 1.0)))
    return experience


def _place(weight: float) -> int:
    return _REACH + round(weight / _STEP)
