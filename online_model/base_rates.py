"""Running base rate of each task: where logits start, and what thin counts are drawn to."""
from __future__ import annotations

import numpy as np

from online_model.decay import DAY_MS, decay_factor
from online_model.saved import Saved

Array = np.ndarray

PRIOR = (0.3, 0.02, 0.001, 0.4, 0.001)  # of TASKS, before anything was seen: short video and song logs lie near these
PRIOR_N = 20.0  # examples that the prior weighs
HALF_LIFE_MS = 7 * DAY_MS  # as the decayed counters
_LEAST = 1e-6


class BaseRates(Saved):
    """Decayed positives and examples of each task, over event time."""

    saved = ("n", "positives", "at_ms")

    def __init__(self) -> None:
        self.n = PRIOR_N
        self.positives = PRIOR_N * np.array(PRIOR)
        self.at_ms = 0

    def rates(self) -> Array:
        """[T], inside (0, 1)."""
        faded = max(PRIOR_N - self.n, 0.0)  # after a long silence the prior is worth what it was in the beginning
        return np.clip((self.positives + faded * np.array(PRIOR)) / (self.n + faded), _LEAST, 1 - _LEAST)

    def logits(self) -> Array:
        """[T]"""
        rate = self.rates()
        return np.log(rate / (1 - rate))

    def add(self, examples: float, positives: Array, now_ms: int) -> None:
        """Count a batch: examples, and positives [T] with reversals' signs."""
        if self.at_ms:
            fade = decay_factor(now_ms - self.at_ms, HALF_LIFE_MS)
            self.n *= fade
            self.positives *= fade
        self.at_ms = max(self.at_ms, now_ms)
        self.n += examples
        self.positives = np.maximum(self.positives + positives, 0)
