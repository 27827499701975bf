"""What revenue weighs against experience, so that a floor of revenue is met: dual ascent.

The weight is the price of the constraint "mean revenue >= floor": it rises while the mean is below and falls while it is above.
Departs from MODEL.md section 6: the step is in shares of the floor, so that it does not depend on the currency.
"""
from __future__ import annotations

import numpy as np

from bandit.settings import BanditSettings

Array = np.ndarray


class Floor:
    """The weight, and the fading mean of revenue that moves it."""

    def __init__(self, settings: BanditSettings) -> None:
        self.settings = settings
        self.weight = 0.0 if settings.revenue_floor else settings.revenue_weight
        self.total = 0.0  # of revenue, fading
        self.rounds = 0.0  # the same of rounds
        self.waiting = 0  # rounds since the last step

    def update(self, revenue: Array) -> bool:
        """Revenue of joined rounds, oldest first; whether the weight changed."""
        s, before = self.settings, self.weight
        if not s.revenue_floor:
            return False
        while len(revenue):
            part, revenue = np.split(revenue, [s.floor_rounds - self.waiting])
            kept = (1.0 - 1.0 / s.floor_memory_rounds) ** np.arange(len(part), -1, -1)
            self.total = kept[0] * self.total + float(kept[1:] @ part)
            self.rounds = kept[0] * self.rounds + float(kept[1:].sum())
            self.waiting += len(part)
            if self.waiting == s.floor_rounds:
                missing = 1.0 - self.total / self.rounds / s.revenue_floor
                self.weight = float(np.clip(self.weight + s.floor_step * missing, 0.0, s.weight_most))
                self.waiting = 0
        return self.weight != before

    def array(self) -> Array:
        """Everything, for a checkpoint."""
        return np.array([self.weight, self.total, self.rounds, self.waiting])

    def load(self, array: Array) -> None:
        """Restore `array()`. A weight that was found counts only as long as there is a floor."""
        weight, self.total, self.rounds = array[:3].tolist()
        if self.settings.revenue_floor:
            self.weight = weight
        self.waiting = min(int(array[3]), self.settings.floor_rounds - 1)  # as many were enough for a step when they were seen
