"""Do the gates still use their experts? Entropy a task and share an expert, by windows of five minutes (MODEL.md section 3).

Gates that learn online polarise, and rare tasks come to ignore their own experts (HoME, 2408.05430). One batch a minute is looked at.
Shapes: T tasks (the rank head last), S shared experts, E = T + S experts: own ones by task, then the shared ones.
"""
from __future__ import annotations

import numpy as np

from online_model.features import TASKS
from online_model.saved import Saved

Array = np.ndarray

LOOK_MS = 60_000  # between two batches that are looked at
WINDOW_MS = 300_000
NEGLECTED = 0.02  # share of the gates that may use an expert, below which it is as good as dead
ALARM_WINDOWS = 12  # in a row: an hour of them
GATES = (*TASKS, "rank")


class GateWatch(Saved):
    """Figures of the window that closed last, and alarms."""

    saved = ("entropy", "share", "low", "alarms", "_sums")
    packed = {"open": ("_n", "_window")}

    def __init__(self, shared: int) -> None:
        tasks = len(GATES)
        self.experts = (*GATES, *(f"shared_{n}" for n in range(shared)))
        self.entropy = np.full(tasks, np.nan)  # [T], nats; of the window closed last
        self.share = np.full(tasks + shared, np.nan)  # [E], mean over the gates that may use the expert
        self.low = np.zeros(tasks + shared, np.int64)  # [E], windows in a row with a neglected share
        self.alarms = np.zeros(tasks + shared, np.int64)  # [E], so far: one each time an hour of neglect is full
        self._sums = np.zeros(2 * tasks + shared)
        self._n = 0
        self._window = -1

    def see(self, share: Array, entropy: Array, now_ms: int) -> None:
        """A batch's mean gates [T, 1 + S] (own, then shared) and their entropies [T]."""
        window = now_ms // WINDOW_MS
        if window > self._window:
            if self._n:
                self._close()
            self._window = window
        self._sums += np.concatenate([entropy, share[:, 0], share[:, 1:].mean(0)])
        self._n += 1

    def _close(self) -> None:
        means = self._sums / self._n
        self.entropy, self.share = means[: len(GATES)], means[len(GATES) :]
        self.low = np.where(self.share < NEGLECTED, self.low + 1, 0)
        self.alarms = self.alarms + (self.low == ALARM_WINDOWS)
        self._sums, self._n = np.zeros_like(self._sums), 0
