"""Orders of arms: drawn as often as their chances say."""
from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from bandit import slates


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


def test_an_arm_without_a_chance_is_never_drawn() -> None:
    chances = np.array([[0.0, 0.5, 0.5, 0.0]] * 3)
    assert slates.pick(chances, np.array([0.0, 0.5, np.nextafter(1, 0)])).tolist() == [1, 2, 2]


def test_more_places_than_arms_with_a_chance_are_refused() -> None:
    with pytest.raises(ValueError, match="a slate of 3 places"):
        slates.one_by_one(np.array([[0.5, 0.5, 0.0]]), np.zeros((1, 3)))


def test_a_slate_begins_as_a_single_draw_does_and_names_every_arm_once() -> None:
    rng = np.random.default_rng(2)
    probabilities, uniform = rng.dirichlet(np.ones(4), 500), rng.random((500, 4))
    arm, given = slates.one_by_one(probabilities, uniform)
    first, rows = slates.pick(probabilities, uniform[:, 0]), np.arange(500)
    assert arm[:, 0].tolist() == first.tolist()
    assert given[:, 0] == pytest.approx(probabilities[rows, first], abs=1e-12)
    assert np.sort(arm, 1).tolist() == [[0, 1, 2, 3]] * 500
    assert given[:, 3] == pytest.approx(1)
    assert given[:, 1] == pytest.approx(probabilities[rows, arm[:, 1]] / (1 - probabilities[rows, first]), rel=1e-6)
