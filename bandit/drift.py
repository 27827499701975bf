"""Has what an arm earns changed? An ADWIN of river's for every arm of every segment.

Bifet & Gavalda, "Learning from time-changing data with adaptive windowing", SDM 2007. Undiscounted counts that are cut at an alarm
beat every discount under switches, and lose nothing while nothing moves (MODEL.md section 6).
A detector's window goes into a checkpoint as the bytes that river's own compiled part makes of it, without pickle. They belong to
a version of river, which a checkpoint names. River takes 1.5 s to import, so the first reward does it: a process starts without, and
one that only chooses never has it. Shapes: N rounds, G segments, K arms.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from river.drift import ADWIN

Array = np.ndarray

CLOCK = 32  # rewards of an arm between two looks


class _Saved(NamedTuple):
    """A detector that is not made yet."""

    window: bytes = b""  # empty: one that saw nothing
    alarmed: bool = False


class Drift:
    """Detectors [G][K]; one that gave an alarm begins anew with its next reward."""

    def __init__(self, segments: int, arms: int, alarm: float) -> None:
        self.alarm = alarm
        self.alarms = np.zeros((segments, arms), np.int64)  # so far
        self._saved = [[_Saved()] * arms for _ in range(segments)]
        self._made: list[list[ADWIN]] | None = None

    @property
    def detectors(self) -> list[list[ADWIN]]:
        """Made of what was saved when they are first asked for."""
        if self._made is None:
            self._made = [[_detector(saved, self.alarm / len(row)) for saved in row] for row in self._saved]
        return self._made

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
        flat = [saved for row in self._saved for saved in row]
        if self._made is not None:
            flat = [_Saved(d._helper.__getstate__() if d.width else b"", d.drift_detected) for row in self._made for d in row]
        return {
            "alarms": self.alarms.copy(),
            "alarmed": np.array([saved.alarmed for saved in flat], np.bool_),
            "bytes": np.frombuffer(b"".join(saved.window for saved in flat), np.uint8).copy(),
            "lengths": np.array([len(saved.window) for saved in flat], np.int64),
        }

    def load(self, arrays: dict[str, Array], arms: list[int | None]) -> None:
        """What `arrays` gave; arms[k] = which of its arms is now arm k, None: a new one."""
        segments, old = arrays["alarms"].shape
        ends, data = np.cumsum(arrays["lengths"]), arrays["bytes"].tobytes()
        self._made = None
        for g in range(segments):
            for k, was in enumerate(arms):
                self._saved[g][k] = _Saved()
                self.alarms[g, k] = 0 if was is None else arrays["alarms"][g, was]
                if was is None:
                    continue
                at = g * old + was
                alarmed = bool(arrays["alarmed"][at])
                if not alarmed or old == len(arms):
                    self._saved[g][k] = _Saved(data[ends[at] - arrays["lengths"][at] : ends[at]], alarmed)


def _detector(saved: _Saved, delta: float) -> ADWIN:
    from river.drift import ADWIN

    detector = ADWIN(delta=delta, clock=CLOCK)
    if saved.window:
        detector._helper.__setstate__(saved.window)
        detector._drift_detected = saved.alarmed
    return detector
