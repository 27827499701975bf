"""Platt scaling: it finds a planted line, slowly enough."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.platt import Platt


def test_a_fresh_line_changes_nothing() -> None:
    z = np.array([[-3.0, 0.5]])
    assert Platt(2)(z).tolist() == z.tolist()


def test_one_step_is_the_gradient_by_hand() -> None:
    # slope turns about the base logit -1: z - base = 3, gradient .5, rate .05 -> slope 1 - .075; the value at the base moves by -.025
    platt = Platt(1)
    platt.step(np.array([[2.0]]), np.array([-1.0]), np.array([[0.5]]), 1)
    assert platt.slope.tolist() == pytest.approx([0.925])
    assert platt(np.array([[-1.0]])).tolist() == [[pytest.approx(-1 - 0.025)]]


def test_the_rate_is_a_share_of_the_most_that_an_example_ever_stood_for() -> None:
    platt = Platt(1)
    platt.step(np.array([[0.0]]), np.array([0.0]), np.array([[5.0]]), 0, 10.0)
    assert platt.offset.tolist() == pytest.approx([-0.05 * 5 / 10])
    platt.step(np.array([[0.0]]), np.array([0.0]), np.array([[5.0]]), 0)  # else batches with and without such examples would weigh unlike
    assert platt.offset.tolist() == pytest.approx([-0.05 * 5 / 10 * 2])


def test_slope_stays_within_its_bounds() -> None:
    platt = Platt(1)
    for _ in range(100):
        platt.step(np.array([[4.0]]), np.array([0.0]), np.array([[5.0]]), 1)
    assert platt.slope.tolist() == [0.2]


def test_an_overconfident_logit_is_calibrated() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(-1, 1, (20_000, 1))
    labels = (rng.random((20_000, 1)) < 1 / (1 + np.exp(-true))).astype(float)
    z, platt, total = 2 * true + 1, Platt(1), 0.0
    for at in range(20_000):
        row = z[at : at + 1]
        p = 1 / (1 + np.exp(-platt(row)))
        total += p.item() * (at >= 10_000)
        platt.step(row, np.array([-1.0]), p - labels[at : at + 1], 1)
    assert platt.slope.item() == pytest.approx(0.5, abs=0.1)
    assert platt.offset.item() == pytest.approx(-0.5, abs=0.15)
    assert labels[10_000:].sum() / total == pytest.approx(1, abs=0.03)
