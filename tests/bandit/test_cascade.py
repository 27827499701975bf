"""Which places were looked at: timelines by hand."""
from __future__ import annotations

import numpy as np

from bandit import cascade


def test_places_down_to_the_last_touch_or_the_deepest_seen_count() -> None:
    #            touched        deepest seen   looked at
    # page 0     . x . .        unknown        1 1 0 0
    # page 1     . . . .        3              1 1 1 0
    # page 2     . . . .        unknown        0 0 0 0
    # page 3     x . x .        1              1 1 1 0
    touched = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 1, 0]], bool)
    want = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]
    assert cascade.examined(touched, np.array([0, 3, 0, 1])).astype(int).tolist() == want
