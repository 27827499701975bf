"""Lists: the oracle of MODEL.md section 8 (2 lists of 3 slots), and properties."""
from __future__ import annotations

import numpy as np
import pytest

from bandit.slate_estimators import cascade_dr, cumulative, iips, rips, sips

R = np.array([[1, 0, 1], [0, 1, 0]], float)
W = np.array([[0.25, 0.5, 0.4], [0.4, 0.25, 1]]) / np.array([[0.5, 0.25, 0.4], [0.2, 0.5, 0.5]])
ALL = np.ones((2, 3), bool)


def test_lists_of_the_oracle() -> None:
    assert sips(W, R, ALL).mean() == pytest.approx(2.0, abs=1e-12)
    assert iips(W, R, ALL).mean() == pytest.approx(1.0, abs=1e-12)
    assert rips(W, R, ALL).mean() == pytest.approx(1.25, abs=1e-12)


def test_cascade_dr_of_the_oracle() -> None:
    q = np.array([[0.4, 0.2], [0.3, 0.1], [0.2, 0.6]])  # slot, action
    actions = np.array([[0, 1, 0], [1, 0, 1]])
    policy = np.array([[(0.25, 0.75), (0.5, 0.5), (0.4, 0.6)], [(0.6, 0.4), (0.25, 0.75), (0, 1)]])
    found = cascade_dr(W, R, q[np.arange(3), actions], (policy * q).sum(2), ALL)
    assert found.mean() == pytest.approx(1.055, abs=1e-12)


def test_slots_that_a_list_lacks_change_nothing() -> None:
    longer = [np.concatenate((x, np.full((2, 1), 7.0)), 1) for x in (W, R)]
    there = np.concatenate((ALL, np.zeros((2, 1), bool)), 1)
    for each in (sips, iips, rips):
        assert each(longer[0], longer[1], there) == pytest.approx(each(W, R, ALL))
    assert cascade_dr(longer[0], longer[1], longer[1], longer[1], there) == pytest.approx(cascade_dr(W, R, R, R, ALL))


def test_cumulative_weight_is_the_product_down_to_the_slot() -> None:
    assert cumulative(W, ALL) == pytest.approx(np.array([[0.5, 1.0, 1.0], [2.0, 1.0, 2.0]]))


def test_all_are_the_mean_list_where_the_policy_is_the_logs() -> None:
    ones = np.ones_like(W)
    for each in (sips, iips, rips):
        assert each(ones, R, ALL) == pytest.approx(R.sum(1))
    q = np.full_like(R, 0.3)
    assert cascade_dr(ones, R, q, q, ALL) == pytest.approx(R.sum(1))
