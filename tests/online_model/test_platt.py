"""Platt scaling: it finds a planted line, as surely as what it has seen allows, and sways no more than that."""
from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from online_model.platt import MEMORY, PRIOR, Platt

ONE = np.ones((1, 1))


def test_a_fresh_line_changes_nothing() -> None:
    z = np.array([[-3.0, 0.5]])
    assert Platt(2)(z).tolist() == z.tolist()


def test_one_step_is_newtons_by_hand() -> None:
    # z = 0, base -1: centred 1, p = 1/2, weight 1/4; what is known: [100.25, .25, 100.25] but for what is forgotten and put back,
    # gradient .5 of both: each moves by -.5 / 100.5, turning about the base
    platt = Platt(1)
    platt.step(np.array([[0.0]]), np.array([-1.0]), np.array([[0.5]]), ONE)
    assert platt.slope.tolist() == pytest.approx([1 - 0.5 / 100.5], rel=1e-7)
    assert platt(np.array([[-1.0]])).item() == pytest.approx(-1 - 0.5 / 100.5, rel=1e-7)


def test_a_batch_agrees_with_the_solver_of_a_library() -> None:
    rng = np.random.default_rng(4)
    z, labels, each = rng.normal(-1, 1, (50, 3)), rng.random((50, 3)) < 0.3, rng.choice([1.0, 8.0], (50, 1))
    base = np.array([-1.0, 0.0, 1.0])
    platt = Platt(3)
    p = 1 / (1 + np.exp(-z))
    platt.step(z, base, (p - labels) * each, each)
    for task in range(3):  # a Newton step by design matrix
        x = np.stack([np.ones(50), z[:, task] - base[task]], 1)
        w = each[:, 0] * p[:, task] * (1 - p[:, task])
        known = PRIOR * np.eye(2) + (x * w[:, None]).T @ x
        move = np.linalg.solve(known, x.T @ ((labels[:, task] - p[:, task]) * each[:, 0]))
        assert platt.slope[task] - 1 == pytest.approx(move[1], rel=1e-9)
        assert platt(np.tile(base, (1, 1)))[0, task] - base[task] == pytest.approx(move[0], rel=1e-9)


def test_examples_that_stand_for_many_weigh_as_so_many() -> None:
    once, often = Platt(1), Platt(1)
    z, gradient = np.array([[0.3]]), np.array([[0.2]])
    once.step(z, np.zeros(1), 5 * gradient, 5 * ONE)
    often.step(np.tile(z, (5, 1)), np.zeros(1), np.tile(gradient, (5, 1)), np.ones((5, 1)))
    assert once.slope == pytest.approx(often.slope, rel=1e-6) and once.offset == pytest.approx(often.offset, rel=1e-3)


def test_a_reversal_moves_the_line_and_is_no_example() -> None:
    platt = Platt(1)
    platt.step(np.array([[0.0]]), np.zeros(1), np.array([[-1.0]]), 0 * ONE)
    assert platt.offset.item() == pytest.approx(1 / PRIOR)
    assert platt.information[:, 0].tolist() == [PRIOR, 0.0, PRIOR]


def test_slope_stays_within_its_bounds() -> None:
    platt = Platt(1)
    for _ in range(100):
        platt.step(np.array([[4.0]]), np.array([0.0]), np.array([[20.0]]), 0 * ONE)
    assert platt.slope.tolist() == [0.2]


def _lines(batch: int, n: int = 20_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z = 2 true + 1: labels, what was served for them, and the line after each batch."""
    rng = np.random.default_rng(2)
    true = rng.normal(-1, 1, (n, 1))
    labels = (rng.random((n, 1)) < 1 / (1 + np.exp(-true))).astype(float)
    z, platt, served, lines = 2 * true + 1, Platt(1), np.zeros((n, 1)), []
    for at in range(0, n, batch):
        rows = slice(at, at + batch)
        served[rows] = 1 / (1 + np.exp(-platt(z[rows])))
        platt.step(z[rows], np.array([-1.0]), served[rows] - labels[rows], np.ones((len(z[rows]), 1)))
        lines.append((platt.slope.item(), platt.offset.item()))
    return labels, served, np.array(lines)


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_an_overconfident_logit_is_calibrated(batch: int) -> None:
    labels, served, lines = _lines(batch)
    assert lines[-1] == pytest.approx([0.5, -0.5], abs=0.08)
    assert labels[10_000:].sum() / served[10_000:].sum() == pytest.approx(1, abs=0.03)


def test_the_line_is_nearly_the_best_one_in_hindsight_and_hardly_sways() -> None:
    """Hindsight: the likelihood's maximum, examples fading as they do online, by a library; about the base, as the prior is."""
    labels, _, lines = _lines(256)
    rng = np.random.default_rng(2)
    z = 2 * rng.normal(-1, 1, len(labels)) + 1
    fade = np.exp((np.arange(len(z)) - len(z)) / MEMORY)

    def loss(line: np.ndarray) -> float:
        about, slope = line
        said = about - 1 + slope * (z + 1)
        return float((fade * (np.logaddexp(0, said) - labels[:, 0] * said)).sum() + PRIOR / 2 * (about**2 + (slope - 1) ** 2))

    about, slope = minimize(loss, [0.0, 1.0]).x
    assert lines[-1] == pytest.approx([slope, about - 1 + slope], abs=0.03)
    assert lines[len(lines) // 2 :, 1].std() < 0.03  # information of 2,000 and more: 1 / sqrt(2,000) = .022
