"""Sums of rewards: a naive loop, hand figures, river's own Thompson sampling."""
from __future__ import annotations

import numpy as np
import pytest
from river.bandit import ThompsonSampling
from river.proba import Beta

from bandit import arms
from tests.oracles import bandit as oracle


def test_discounted_counts_are_those_by_hand() -> None:
    counts = arms.empty(1, 1)
    counts.add(np.zeros(3, np.int64), np.zeros(3, np.int64), np.array([[1.0, 0, 1], [0, 0, 0]]), 10.0)  # memory 10: gamma .9
    won, lost = counts.won[0, 0, 0], counts.lost[0, 0, 0]
    assert (won, lost) == pytest.approx((1.81, 0.9), abs=1e-12)
    assert (1 + won) / (2 + won + lost) == pytest.approx(0.5966029723991507, abs=1e-12)


def test_a_batch_is_its_rounds_one_by_one_and_the_naive_loop() -> None:
    rng = np.random.default_rng(3)
    segment, arm, rewards = rng.integers(0, 3, 200), rng.integers(0, 4, 200), rng.random((2, 200))
    whole, single = arms.empty(3, 4), arms.empty(3, 4)
    whole.add(segment, arm, rewards, 50.0)
    for i in range(200):
        single.add(segment[i : i + 1], arm[i : i + 1], rewards[:, i : i + 1], 50.0)
    for g in range(3):
        rounds = [(int(arm[i]), float(rewards[0, i])) for i in np.flatnonzero(segment == g)]
        won, lost = oracle.discounted(rounds, 4, 0.98)
        assert whole.won[0, g] == pytest.approx(won, abs=1e-12)
        assert whole.lost[0, g] == pytest.approx(lost, abs=1e-12)
    assert whole.squares == pytest.approx(single.squares, abs=1e-12)


def test_a_new_arm_begins_at_half_of_what_is_expected() -> None:
    a, b = arms.empty(2, 3).beta(0, np.array([0.1, 0.05]), 20.0)
    assert a.tolist() == [[1.0] * 3, [0.5] * 3]
    assert b.tolist() == [[19.0] * 3, [19.5] * 3]


def test_a_segment_is_drawn_to_all_by_hand() -> None:
    # Arm 0: 30 of 80 in segment 0, none in segment 1: mean over all (1 + 30) / (20 + 80) = .31
    counts = arms.empty(2, 2)
    counts.won[0, 0, 0], counts.lost[0, 0, 0] = 30, 50
    a, b = counts.beta(1, np.array([0.1, 0.1]), 20.0)
    assert (a[0, 0], b[0, 0]) == pytest.approx((6.2, 13.8))
    a, b = counts.beta(0, np.array([0.1, 0.1]), 20.0)
    assert (a[0, 0], b[0, 0]) == pytest.approx((36.2, 63.8))


def test_a_cut_keeps_a_share_of_one_segment() -> None:
    counts = arms.empty(2, 2)
    counts.won += 10
    counts.retain(1, 0.1)
    assert counts.won[:, 0].tolist() == [[10, 10], [10, 10]]
    assert counts.won[:, 1].tolist() == [[1, 1], [1, 1]]


def test_beta_counts_are_those_of_river() -> None:
    river = ThompsonSampling(reward_obj=Beta(1, 1), seed=1)
    rng = np.random.default_rng(5)
    arm, reward = rng.integers(0, 3, 300), rng.random(300) < 0.3
    counts = arms.empty(1, 3)
    for k, r in zip(arm.tolist(), reward.tolist(), strict=True):
        river.pull(range(3))
        river.update(k, r)
    counts.add(np.zeros(300, np.int64), arm, np.stack([reward, reward]).astype(float), np.inf)
    a, b = counts.won[0, 0] + 1, counts.lost[0, 0] + 1
    assert [(river._rewards[k].alpha, river._rewards[k].beta) for k in range(3)] == list(zip(a.tolist(), b.tolist(), strict=True))


def test_gaussian_posterior_is_mean_and_standard_error() -> None:
    rng = np.random.default_rng(2)
    r = rng.normal(0.4, 0.05, 5_000)
    counts = arms.empty(1, 1)
    counts.add(np.zeros(5_000, np.int64), np.zeros(5_000, np.int64), np.stack([r, r]), np.inf)
    mean, variance = counts.gaussian(0, np.array([0.8, 0.8]), 1e-9)
    assert mean[0, 0] == pytest.approx(r.mean(), abs=1e-12)
    assert variance[0, 0] == pytest.approx(r.var() / 5_000, rel=1e-6)
