"""Change detection on what each arm earns: one detector for every arm of every segment.

Undiscounted counts that are cut at an alarm beat every discount when the best arm switches, and lose nothing when it does not
(MODEL.md section 6). The detector is ADWIN (Bifet & Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007);
its class is an argument, because this package imports no other. Shapes: N rounds, G segments, K arms.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import numpy as np

Array = np.ndarray

_Window = tuple[list[list[float]], int, float, float]


class Detector(Protocol):
    """ADWIN as `online_model.adwin` implements it: buckets of 2^n values by n, and the moments of the whole window."""

    levels: list[list[float]]
    width: int
    total: float
    variance: float

    def update(self, value: float) -> bool:
        """Add a value; True if the mean has changed, and the window then starts anew."""


DetectorType = Callable[[float], Detector]  # from the probability of a false alarm to an empty detector


class ArmDrift:
    """Detectors [G][K], each with an equal share of the segment's probability of a false alarm."""

    def __init__(self, segments: int, arms: int, alarm: float, detector: DetectorType) -> None:
        self.alarms = np.zeros((segments, arms), np.int64)  # so far
        self.detectors = [[detector(alarm / arms) for _ in range(arms)] for _ in range(segments)]

    def update(self, segment: Array, arm: Array, reward: Array) -> list[int]:
        """Rounds [N], oldest first -> segments with an alarm, ascending. One reward at a time: the window is a sequence."""
        alarmed = set()
        for g, k, r in zip(segment.tolist(), arm.tolist(), reward.tolist(), strict=True):
            if self.detectors[g][k].update(r):
                self.alarms[g, k] += 1
                alarmed.add(g)
        return sorted(alarmed)

    def arrays(self) -> dict[str, Array]:
        """All state, for a checkpoint; an empty window has no bytes."""
        flat = [detector for row in self.detectors for detector in row]
        windows = [msgspec.msgpack.encode((d.levels, d.width, d.total, d.variance)) if d.width else b"" for d in flat]
        return {
            "alarms": self.alarms.copy(),
            "alarmed": np.zeros(len(flat), np.bool_),  # kept from the format in which a window outlived its alarm by one value
            "bytes": np.frombuffer(b"".join(windows), np.uint8).copy(),
            "lengths": np.array([len(window) for window in windows], np.int64),
        }

    def load(self, arrays: dict[str, Array], previous: list[int | None]) -> None:
        """Restore `arrays()`; previous[k] is the index that arm k had in it, None for a new arm."""
        before = arrays["alarms"].shape[1]
        ends, data = np.cumsum(arrays["lengths"]), arrays["bytes"].tobytes()
        for g, row in enumerate(self.detectors):
            for k, old in enumerate(previous):
                self.alarms[g, k] = 0 if old is None else arrays["alarms"][g, old]
                window: _Window = ([[]], 0, 0.0, 0.0)
                if old is not None and (length := arrays["lengths"][g * before + old]):
                    end = ends[g * before + old]
                    window = msgspec.msgpack.decode(data[end - length : end], type=_Window)
                row[k].levels, row[k].width, row[k].total, row[k].variance = window
