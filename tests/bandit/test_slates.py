"""Orders of arms: drawn as often as their chances say."""
from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from bandit import quadrature, slates


def test_a_place_is_drawn_from_what_is_left_and_orders_are_as_frequent_as_said() -> None:
    chances, n = np.array([0.6, 0.3, 0.08, 0.02]), 200_000
    slate, given = slates.one_by_one(np.tile(chances, (n, 1)), np.random.default_rng(3).random((n, 3)))
    want = {o: chances[o[0]] * chances[o[1]] / (1 - chances[o[0]]) * chances[o[2]] / (1 - chances[o[0]] - chances[o[1]])
            for o in permutations(range(4), 3)}  # fmt: skip
    assert sum(want.values()) == pytest.approx(1)
    for order, whole in zip(slate[:50].tolist(), given[:50].prod(1), strict=True):
        assert whole == pytest.approx(want[tuple(order)], abs=1e-12)
    code = slate @ np.array([16, 4, 1])
    seen = [int((code == 16 * a + 4 * b + c).sum()) for a, b, c in want]
    assert stats.chisquare(seen, n * np.array(list(want.values()))).pvalue > 0.001


def test_ranked_draws_stand_at_each_place_as_often_as_computed() -> None:
    a, b, n = np.array([3.0, 5.0, 2.0, 9.0]), np.array([30.0, 40.0, 30.0, 80.0]), 200_000
    rng = np.random.default_rng(9)
    slate = slates.ranked(rng.beta(a, b, (n, 4)), rng.random(n) < 0.1, np.argsort(rng.random((n, 4)), 1), 3)
    want = quadrature.floored(quadrature.beta(a, b, 3), 0.1)
    for place in range(3):
        assert stats.chisquare(np.bincount(slate[:, place], minlength=4), n * want[:, place]).pvalue > 0.001


def test_an_arm_without_a_chance_is_never_drawn() -> None:
    chances = np.array([[0.0, 0.5, 0.5, 0.0]] * 3)
    assert slates.pick(chances, np.array([0.0, 0.5, np.nextafter(1, 0)])).tolist() == [1, 2, 2]


def test_more_places_than_arms_with_a_chance_are_refused() -> None:
    with pytest.raises(ValueError, match="a slate of 3 places"):
        slates.one_by_one(np.array([[0.5, 0.5, 0.0]]), np.zeros((1, 3)))
