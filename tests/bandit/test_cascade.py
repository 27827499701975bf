"""Which places were looked at: timelines by hand, examination planted."""
from __future__ import annotations

import numpy as np
import pytest

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


def test_examination_is_found_in_random_traffic_and_undone() -> None:
    rng, theta = np.random.default_rng(7), np.array([1.0, 0.6, 0.35, 0.2])
    quality = rng.uniform(0.05, 0.2, 8)
    modules = np.argsort(rng.random((200_000, 8)), 1)[:, :4]
    clicks = rng.random(modules.shape) < theta * quality[modules]
    found = cascade.examination(clicks.sum(0), np.full(4, 200_000))
    assert found == pytest.approx(theta, abs=0.03)
    worth = cascade.by_place(np.full(4, 0.1), np.arange(4), found)
    assert worth == pytest.approx(np.minimum(0.1 / found, 1))


def test_examination_never_rises_down_the_page() -> None:
    found = cascade.examination(np.array([100, 20, 30, 0]), np.array([1_000, 1_000, 1_000, 0]))
    assert found[0] == 1
    assert (np.diff(found) <= 0).all()
    assert cascade.examination(np.zeros(3), np.zeros(3)).tolist() == [1, 1, 1]
