"""Estimators of single choices, by hand and against loops over rows; unbiased where the truth is known."""
from __future__ import annotations

import numpy as np
import pytest

from bandit import estimators as e

P = np.array([0.5, 0.25, 0.2, 0.8])
PI = np.array([0.25, 0.75, 0.1, 0.8])
R = np.array([1.0, 0.0, 1.0, 1.0])
W = PI / P  # .5, 3, .5, 1
Q = np.array([0.5, 0.2, 0.4, 0.6])
QPI = np.array([0.3, 0.4, 0.5, 0.6])


def test_by_hand() -> None:
    assert e.value(e.ips(W, R)) == pytest.approx((0.5 + 0.5 + 1) / 4)
    assert e.value(e.snips(W, R)) == pytest.approx(2 / 5)
    assert e.value(e.dm(QPI)) == pytest.approx(0.45)
    assert e.value(e.dr(W, R, Q, QPI)) == pytest.approx(0.45 + (0.25 - 0.6 + 0.3 + 0.4) / 4)
    assert e.value(e.sndr(W, R, Q, QPI)) == pytest.approx(0.45 + 0.35 / 5)
    assert e.value(e.dr(e.switched(W, 1.0), R, Q, QPI)) == pytest.approx(0.45 + 0.95 / 4)
    assert e.value(e.replay(R, np.array([True, True, False, False]))) == pytest.approx(0.5)
    assert np.isnan(e.value(e.replay(R, np.zeros(4, bool))))


def test_changed_weights() -> None:
    assert e.shrunk(W, 2.0) == pytest.approx([1 / 2.25, 6 / 11, 1 / 2.25, 2 / 3])
    assert e.shrunk(np.array([0.0, 5.0]), 0.0) == pytest.approx([0, 0])
    assert e.clipped(W, 2.0) == pytest.approx([0.5, 2, 0.5, 1])
    assert e.sub_gaussian(W, 0.5) == pytest.approx([0.5 / 0.75, 3 / 2, 0.5 / 0.75, 1])


def test_without_a_limit_changed_weights_are_the_weights() -> None:
    assert e.sub_gaussian(np.array([0.0, 3.0]), 1.0) == pytest.approx([0, 1])
    for changed in (e.switched(W, np.inf), e.clipped(W, np.inf), e.sub_gaussian(W, 0.0)):
        assert (changed == W).all()
    assert e.shrunk(W, 1e12) == pytest.approx(W, rel=1e-9)


def test_ips_and_dr_meet_the_truth_whatever_the_model_says() -> None:
    """Every action of every context once, weighted by its own chance: the expectation itself, not a sample."""
    rng = np.random.default_rng(3)
    p, pi, mean, q = (rng.random((5, 4)) + 0.05 for _ in range(4))
    p, pi = p / p.sum(1, keepdims=True), pi / pi.sum(1, keepdims=True)
    truth = (pi * mean).sum(1).mean()
    w = pi / p
    q_policy = np.repeat((pi * q).sum(1)[:, None], 4, 1)
    for ratios in (e.ips(w, mean), e.dr(w, mean, q, q_policy)):
        above, _ = ratios[0]
        assert (p * above).sum(1).mean() == pytest.approx(truth, abs=1e-12)
