"""Exponential decay over event time, and the durations that half-lives are written in."""
from __future__ import annotations

from math import exp2, log1p

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
_LN2 = 0.6931471805599453


def decay_factor(elapsed_ms: float, half_life_ms: float) -> float:
    """What is left of 1 after this time; time that runs backwards takes nothing away.

    >>> decay_factor(2 * HOUR_MS, HOUR_MS), decay_factor(-5, HOUR_MS)
    (0.25, 1.0)
    """
    return float(2.0 ** (-max(0, elapsed_ms) / half_life_ms))


def summed(score: float, more: float) -> float:
    """Two counts as one, each as its log2 plus the time in half-lives; -inf is nothing.

    >>> summed(3.0, 3.0)
    4.0
    """
    high, low = (score, more) if score > more else (more, score)
    return high + log1p(exp2(low - high)) / _LN2
