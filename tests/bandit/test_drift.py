"""Alarms are river's, and a detector goes on as if it had never been written down."""
from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN

from bandit.drift import CLOCK, Drift

Array = np.ndarray


def _rounds(n: int) -> tuple[Array, Array, Array]:
    """Two segments of three arms; arm 2 of segment 1 rises from .05 to .3 at the half."""
    rng = np.random.default_rng(4)
    segment, arm = rng.integers(0, 2, n), rng.integers(0, 3, n)
    rate = np.where((segment == 1) & (arm == 2) & (np.arange(n) >= n // 2), 0.3, 0.05)
    return segment, arm, (rng.random(n) < rate).astype(float)


def test_an_alarm_names_the_segment_in_which_an_arm_changed_as_river_does() -> None:
    segment, arm, reward = _rounds(12_000)
    drift, alone = Drift(2, 3, 0.002), [[ADWIN(delta=0.002 / 3, clock=CLOCK) for _ in range(3)] for _ in range(2)]
    for at in range(0, 12_000, 100):
        part = slice(at, at + 100)
        alarmed = set()
        for g, k, r in zip(segment[part], arm[part], reward[part], strict=True):
            alone[g][k].update(float(r))
            if alone[g][k].drift_detected:
                alarmed.add(int(g))
        assert drift.see(segment[part], arm[part], reward[part]) == sorted(alarmed)
    assert drift.alarms[1, 2] >= 1
    assert drift.alarms[0].sum() == 0


@pytest.mark.parametrize("stop", [37, 5_000, 6_600, 9_000])
def test_a_restored_detector_gives_the_alarms_of_one_that_never_stopped(stop: int) -> None:
    segment, arm, reward = _rounds(12_000)
    whole, first, second = Drift(2, 3, 0.002), Drift(2, 3, 0.002), Drift(2, 3, 0.002)
    whole.see(segment[:stop], arm[:stop], reward[:stop])
    first.see(segment[:stop], arm[:stop], reward[:stop])
    second.load(first.arrays(), [0, 1, 2])
    for at in range(stop, 12_000):
        one = slice(at, at + 1)
        assert second.see(segment[one], arm[one], reward[one]) == whole.see(segment[one], arm[one], reward[one])
    assert whole.alarms.sum() >= 1
    third = Drift(2, 3, 0.002)
    third.load(whole.arrays(), [0, 1, 2])  # and is written down again before it has seen anything
    for name, array in whole.arrays().items():
        assert second.arrays()[name].tolist() == third.arrays()[name].tolist() == array.tolist()


def test_a_new_arm_begins_anew_between_others_that_go_on() -> None:
    segment, arm, reward = _rounds(3_000)
    old, new = Drift(2, 3, 0.002), Drift(2, 3, 0.002)
    old.see(segment, arm, reward)
    new.load(old.arrays(), [2, None, 0])
    assert [d.width for d in new.detectors[1]] == [old.detectors[1][2].width, 0, old.detectors[1][0].width]
    assert old.detectors[1][0].width > 0
