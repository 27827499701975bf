"""How long a user plays: decayed counts of plays, skips among them, by how long they lasted.

A play counts at the two of PLAY_TIMES_S around it, by where log(1 + s) lies between theirs, so that no border is a cliff. Rates say how
often a user plays to the end; this says whether the other plays end at once or after a look. A mean says less: on KuaiRand a next skip is
rarer than rates foretell after a play of 3 to 10 s, and more frequent after one of 10 to 40 s or below 3 s.
"""
from __future__ import annotations

from bisect import bisect_right
from math import log1p

from online_model.features import PLAY_TIMES_S
from online_model.popularity import RATE_HALF_LIFE_H, Decay, Values

_LOGS = [log1p(s) for s in PLAY_TIMES_S]
_LAST = len(_LOGS) - 1


def of_plays(rate_half_life_h: float = RATE_HALF_LIFE_H) -> Decay:
    """A count for each of PLAY_TIMES_S: 64 bytes a user."""
    return Decay((rate_half_life_h,) * len(PLAY_TIMES_S))


def spread(played_ms: int) -> Values:
    """What a play adds to each count, 1 in all.

    >>> spread(0)
    (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    """
    length = min(log1p(played_ms / 1000), _LOGS[_LAST])
    at = min(bisect_right(_LOGS, length), _LAST) - 1
    upper = (length - _LOGS[at]) / (_LOGS[at + 1] - _LOGS[at])
    out = [0.0] * len(_LOGS)
    out[at : at + 2] = 1.0 - upper, upper
    return tuple(out)
