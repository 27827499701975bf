"""ADWIN: river's, value by value."""
from __future__ import annotations

import numpy as np
import pytest
from river.drift import ADWIN

from online_model.adwin import DELTA, Adwin


@pytest.mark.parametrize("delta", [DELTA, 0.05, 1e-4])
@pytest.mark.parametrize("binary", [False, True])
def test_alarms_and_windows_are_those_of_river(delta: float, binary: bool) -> None:
    alarms = 0
    for seed in range(4):
        rng = np.random.default_rng(seed)
        values = rng.random(2_000) * 0.2 + (np.arange(2_000) // rng.integers(150, 900) % 2) * rng.choice([0.05, 0.3, 0.6])
        if binary:
            values = (rng.random(2_000) < values).astype(float)
        ours, theirs = Adwin(delta), ADWIN(delta=delta)
        for value in values.tolist():
            theirs.update(value)
            changed = ours.update(value)
            assert changed == bool(theirs.drift_detected)
            if not changed:  # river empties its window a value later
                assert (ours.width, ours.total) == pytest.approx((theirs.width, theirs.total), abs=1e-9)
                assert ours.variance == pytest.approx(theirs.variance, abs=1e-9)
            alarms += changed
    assert alarms >= 4
