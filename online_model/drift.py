"""Alarms where what happens leaves what is predicted: ADWIN over calibrated residuals, a task and a place of domains (MODEL.md 10.4).

A residual is label - probability of an exposure whose window has closed, in the order in which windows close: earlier, acts would
come before the exposures that get none, and every rush hour would look like a change. GROUP of them are one value.
Shapes: N rows, T tasks, M places of domains.
"""
from __future__ import annotations

import msgspec
import numpy as np

from online_model.adwin import DELTA, Adwin
from online_model.decay import HOUR_MS
from online_model.features import TASKS
from online_model.saved import Saved

Array = np.ndarray

GROUP = 4  # residuals a value, for speed; 16 would need shifts of more than .3: the bound is for values that may lie anywhere in [0, 1]
HASTE = 3.0  # times the rates at an alarm …
CALM_MS = HOUR_MS  # … and back to 1 in a straight line, over this much event time
_Window = tuple[list[list[float]], int, float, float]


class Drift(Saved):
    """A detector a task and place, and what has been alarmed."""

    saved = ("alarms", "alarm_ms", "_sums", "_n", "_most")

    def __init__(self, places: int) -> None:
        self.alarms = np.zeros((len(TASKS), places), np.int64)  # so far
        self.alarm_ms = -CALM_MS  # event time of the last one
        self._windows = [[Adwin(DELTA / (len(TASKS) * places)) for _ in range(places)] for _ in TASKS]
        self._sums = np.zeros((len(TASKS), places))
        self._n = np.zeros(places, np.int64)
        self._most = 1.0  # that a row has stood for

    def see(self, place: Array, residuals: Array, importance_weight: Array, now_ms: int) -> int:
        """Places [N] and residuals [N, T], in order, of rows that stand for so many [N]; how many alarms they gave.

        What is watched is in shares of the most that a row has stood for: the detector's bound is for values within [-1, 1].
        """
        self._most = max(self._most, float(importance_weight.max(initial=1.0)))
        residuals = residuals * (importance_weight / self._most)[:, None]
        given = 0
        for at in np.unique(place).tolist():
            rows = residuals[place == at]
            given += sum(self._take(at, value, now_ms) for value in self._grouped(at, rows))
        return given

    def _grouped(self, at: int, rows: Array) -> list[list[float]]:
        """Means of GROUP rows [N, T] each, the first with those that waited; added up one by one, so that they are the same however the
        rows came."""
        if self._n[at]:
            rows = np.concatenate([self._sums[None, :, at], np.zeros((self._n[at] - 1, rows.shape[1])), rows])
        whole = len(rows) // GROUP * GROUP
        self._sums[:, at] = _added(rows[None, whole:])[0]
        self._n[at] = len(rows) - whole
        means: list[list[float]] = (_added(rows[:whole].reshape(-1, GROUP, rows.shape[1])) / GROUP).tolist()
        return means

    def _take(self, at: int, values: list[float], now_ms: int) -> int:
        """A value of each task; how many alarms they gave."""
        given = 0
        for task, value in enumerate(values):
            if self._windows[task][at].update(value):
                self.alarms[task, at] += 1
                self.alarm_ms = max(self.alarm_ms, now_ms)
                given += 1
        return given

    def lr_multiplier(self, now_ms: int) -> float:
        """What rates are to be multiplied by."""
        return 1.0 + (HASTE - 1.0) * min(1.0, max(0.0, 1.0 - (now_ms - self.alarm_ms) / CALM_MS))

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint."""
        windows = [[(a.levels, a.width, a.total, a.variance) for a in row] for row in self._windows]
        return super().arrays() | {"windows": np.frombuffer(msgspec.msgpack.encode(windows), np.uint8)}

    def load(self, arrays: dict[str, Array]) -> None:
        """The state that `arrays` gave."""
        super().load({"most": np.array(1.0)} | arrays)  # earlier checkpoints have none
        saved = msgspec.msgpack.decode(arrays["windows"].tobytes(), type=list[list[_Window]])
        for row, states in zip(self._windows, saved, strict=True):
            for window, state in zip(row, states, strict=True):
                window.levels, window.width, window.total, window.variance = state


def _added(rows: Array) -> Array:
    """[G, N, T] -> [G, T], from the first to the last."""
    out = np.zeros((len(rows), rows.shape[2]))
    for n in range(rows.shape[1]):
        out += rows[:, n]
    return out
