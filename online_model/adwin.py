"""Has the mean of a stream changed? ADWIN, with a state that can be written down.

Bifet & Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007 (section 3.2: ADWIN2, buckets of 1, 2, 4 …
values, at most five and one of each size). The same steps, defaults and alarms as river.drift.ADWIN, which the test holds it against;
river's own gives its window as bytes of its version only, and takes most of a second to import: a learner starts in two and a half.
"""
from __future__ import annotations

from math import log, sqrt

DELTA = 0.002  # chance of a false alarm
CLOCK = 32  # values between two looks for a cut
_OF_A_SIZE = 5
_SHORTEST = 5  # values on either side of a cut
_GRACE = 10  # values before the first look

Level = list[float]  # sums of buckets of one size, the oldest first


class Adwin:
    """The window, as buckets of 2^n values: `levels[n]`, the newest ones in level 0."""

    def __init__(self, delta: float = DELTA) -> None:
        self.delta = delta
        self._clear()

    def _clear(self) -> None:
        self.levels: list[Level] = [[]]
        self.width = 0
        self.total = 0.0
        self.variance = 0.0  # times the width

    def update(self, value: float) -> bool:
        """Take a value in; whether the mean has changed. Then the window is empty, and begins anew."""
        if self.width:
            self.variance += self.width * (value - self.total / self.width) ** 2 / (self.width + 1)
        self.width += 1
        self.total += value
        self.levels[0].append(value)
        self._compress()
        if self.width % CLOCK or self.width <= _GRACE or not self._has_cut():
            return False
        self._clear()
        return True

    def _compress(self) -> None:
        for n, level in enumerate(self.levels):
            if len(level) <= _OF_A_SIZE:
                return
            if n + 1 == len(self.levels):
                self.levels.append([])
            self.levels[n + 1].append(level[0] + level[1])
            del level[:2]

    def _has_cut(self) -> bool:
        n0, n1, u0, u1 = 0.0, float(self.width), 0.0, self.total
        spread = self.variance / self.width
        confidence = log(2 * log(self.width) / self.delta)
        for n in range(len(self.levels) - 1, -1, -1):
            for total in self.levels[n] if n else self.levels[n][:-1]:
                n0, n1, u0, u1 = n0 + 2**n, n1 - 2**n, u0 + total, u1 - total
                if n0 < _SHORTEST or n1 < _SHORTEST:
                    continue
                m = 1 / (n0 - _SHORTEST + 1) + 1 / (n1 - _SHORTEST + 1)
                if abs(u0 / n0 - u1 / n1) > sqrt(2 * m * spread * confidence) + 2 / 3 * confidence * m:
                    return True
        return False
