"""Has what an arm earns changed? An ADWIN of river's for every arm of every segment.

Bifet & Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007. Undiscounted counts that are cut at an alarm
beat every discount under switches, and lose nothing while nothing moves (MODEL.md section 6).
A detector's window goes into a checkpoint as the bytes that river's own compiled part makes of it, without pickle. They belong to
a version of river, which a checkpoint names. Shapes: N rounds, G segments, K arms.
"""
from __future__ import annotations

import numpy as np
from river.drift import ADWIN

Array = np.ndarray

CLOCK = 32  # rewards of an arm between two looks


class Drift:
    """Detectors [G][K]; one that gave an alarm begins anew with its next reward."""

    def __init__(self, segments: int, arms: int, alarm: float) -> None:
        self.alarm = alarm
        self.detectors = [[_detector(alarm, arms) for _ in range(arms)] for _ in range(segments)]
        self.alarms = np.zeros((segments, arms), np.int64)  # so far

    def see(self, segment: Array, arm: Array, reward: Array) -> list[int]:
        """Rounds [N], oldest first -> segments with an alarm. Reward by reward, 0.25 us each: the window is a sequence."""
        alarmed = set()
        for g, k, r in zip(segment.tolist(), arm.tolist(), reward.tolist(), strict=True):
            detector = self.detectors[g][k]
            detector.update(r)
            if detector.drift_detected:
                self.alarms[g, k] += 1
                alarmed.add(g)
        return sorted(alarmed)

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint."""
        flat = [detector for row in self.detectors for detector in row]
        windows = [detector._helper.__getstate__() for detector in flat]
        return {
            "alarms": self.alarms.copy(),
            "alarmed": np.array([detector.drift_detected for detector in flat], np.bool_),
            "bytes": np.frombuffer(b"".join(windows), np.uint8).copy(),
            "lengths": np.array([len(window) for window in windows], np.int64),
        }

    def load(self, arrays: dict[str, Array], arms: list[int | None]) -> None:
        """What `arrays` gave; arms[k] = which of its arms is now arm k, None: a new one."""
        segments, old = arrays["alarms"].shape
        ends, alarmed, data = np.cumsum(arrays["lengths"]), arrays["alarmed"], arrays["bytes"].tobytes()
        for g in range(segments):
            for k, was in enumerate(arms):
                self.detectors[g][k] = detector = _detector(self.alarm, len(arms))
                self.alarms[g, k] = 0 if was is None else arrays["alarms"][g, was]
                if was is None or (alarmed[g * old + was] and old != len(arms)):
                    continue
                at = g * old + was
                detector._helper.__setstate__(data[ends[at] - arrays["lengths"][at] : ends[at]])
                detector._drift_detected = bool(alarmed[at])


def _detector(alarm: float, arms: int) -> ADWIN:
    return ADWIN(delta=alarm / arms, clock=CLOCK)
