"""Alarms and windows are river's, and a restored detector goes on as one that never stopped."""
from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN

from bandit.drift import ArmDrift
from online_model.adwin import CLOCK, Adwin

Array = np.ndarray


def _rounds(n: int) -> tuple[Array, Array, Array]:
    """Two segments of three arms; arm 2 of segment 1 rises from .05 to .3 at the half."""
    rng = np.random.default_rng(4)
    segment, arm = rng.integers(0, 2, n), rng.integers(0, 3, n)
    rate = np.where((segment == 1) & (arm == 2) & (np.arange(n) >= n // 2), 0.3, 0.05)
    return segment, arm, (rng.random(n) < rate).astype(float)


def _drift() -> ArmDrift:
    return ArmDrift(2, 3, 0.002, Adwin)


def test_an_alarm_names_the_segment_in_which_an_arm_changed_as_river_does() -> None:
    segment, arm, reward = _rounds(12_000)
    alarms = np.zeros((2, 3), np.int64)
    drift, reference = _drift(), [[ADWIN(delta=0.002 / 3, clock=CLOCK) for _ in range(3)] for _ in range(2)]
    for at in range(0, 12_000, 100):
        part = slice(at, at + 100)
        alarmed = set()
        for g, k, r in zip(segment[part], arm[part], reward[part], strict=True):
            reference[g][k].update(float(r))
            if reference[g][k].drift_detected:
                alarmed.add(int(g))
                alarms[g, k] += 1
        assert drift.update(segment[part], arm[part], reward[part]) == sorted(alarmed)
    for row, of_river in zip(drift.detectors, reference, strict=True):  # the states of both, by river's public figures
        for detector, river in zip(row, of_river, strict=True):
            assert detector.width == river.width
            assert (detector.total, detector.variance) == pytest.approx((river.total, river.variance), abs=1e-9)
    assert drift.alarms.tolist() == alarms.tolist()
    assert drift.alarms[1, 2] >= 1
    assert drift.alarms[0].sum() == 0


@pytest.mark.parametrize("stop", [37, 5_000, 6_600, 9_000])
def test_a_restored_detector_gives_the_alarms_of_one_that_never_stopped(stop: int) -> None:
    segment, arm, reward = _rounds(12_000)
    whole, stopped, restored = _drift(), _drift(), _drift()
    whole.update(segment[:stop], arm[:stop], reward[:stop])
    stopped.update(segment[:stop], arm[:stop], reward[:stop])
    restored.load(stopped.arrays(), [0, 1, 2])
    for at in range(stop, 12_000):
        one = slice(at, at + 1)
        assert restored.update(segment[one], arm[one], reward[one]) == whole.update(segment[one], arm[one], reward[one])
    assert whole.alarms.sum() >= 1
    again = _drift()
    again.load(whole.arrays(), [0, 1, 2])  # and is saved again before it has seen anything
    for name, array in whole.arrays().items():
        assert restored.arrays()[name].tolist() == again.arrays()[name].tolist() == array.tolist()


def test_a_new_arm_starts_empty_between_others_that_go_on() -> None:
    segment, arm, reward = _rounds(3_000)
    old, new = _drift(), _drift()
    old.update(segment, arm, reward)
    new.load(old.arrays(), [2, None, 0])
    assert [d.width for d in new.detectors[1]] == [old.detectors[1][2].width, 0, old.detectors[1][0].width]
    assert old.detectors[1][0].width > 0


def test_loading_replaces_whatever_a_detector_held() -> None:
    segment, arm, reward = _rounds(1_000)
    used = _drift()
    used.update(segment, arm, reward)
    used.load(_drift().arrays(), [0, 1, 2])
    for name, array in _drift().arrays().items():
        assert used.arrays()[name].tolist() == array.tolist()
