"""The chance to be the best among hundreds: as the exact quadrature has it, after any have been placed, and never without a number."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit import quadrature
from bandit.best_of_many import ARMS, BestOfMany

ALL = np.ones(3, bool)


def test_the_published_oracle_is_met() -> None:
    """MODEL.md section 6."""
    chances = BestOfMany([1, 2, 3], np.array([0.0, 0.1, 0.3]), np.array([0.5, 0.2, 0.1]), 1)
    assert chances(ALL).tolist() == pytest.approx([0.26367132, 0.14036151, 0.59596717], abs=0.01)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0.01, 1)), min_size=2, max_size=12), st.integers(0, 1 << 12)
)  # fmt: skip
def test_among_those_left_the_chances_are_those_of_the_exact_quadrature(arms: list[tuple[float, float]], mask: int) -> None:
    mean, sd = np.array(arms).T
    allowed = np.array([bool(mask >> n & 1) for n in range(len(arms))])
    found = BestOfMany(list(range(len(arms))), mean, sd, len(arms))(allowed)
    assert found[~allowed].tolist() == [0.0] * int((~allowed).sum())
    if allowed.any():
        exact = quadrature.gaussian(mean[allowed], sd[allowed])[:, 0]
        assert np.abs(found[allowed] - exact).max() < 0.05 and found.sum() == pytest.approx(1.0)


def test_arms_alike_have_chances_alike_whatever_was_placed() -> None:
    chances = BestOfMany(list(range(40)), np.full(40, 0.3), np.full(40, 0.1), 12)
    for left in (40, 17, 1):
        assert chances(np.arange(40) < left)[:left].tolist() == pytest.approx([1 / left] * left, rel=1e-9)


@given(st.lists(st.sampled_from([-1e6, -1.0, 0.0, 1e-9, 1.0, 1e6]), min_size=1, max_size=30), st.sampled_from([0.0, 1e-12, 1.0, 1e3]))
def test_certain_far_and_single_arms_have_numbers_too(mean: list[float], sd: float) -> None:
    chances = BestOfMany(list(range(len(mean))), np.array(mean), np.full(len(mean), sd), 3)
    allowed = np.ones(len(chances.keys), bool)
    while allowed.any():
        found = chances(allowed)
        assert (found >= 0).all() and found.sum() == pytest.approx(1.0)
        allowed[int(found.argmax())] = False


def test_of_hundreds_those_stay_that_may_reach_the_last_place() -> None:
    rng = np.random.default_rng(1)
    mean, sd = rng.normal(0, 1, 400), np.full(400, 0.05)
    mean[7], sd[7] = -1.0, 5.0  # nothing is known of it
    chances = BestOfMany(list(range(400)), mean, sd, 12)
    best = np.argsort(-mean)[:12].tolist()
    assert {7, *best} <= set(chances.keys) and len(chances.keys) <= ARMS
    found = dict(zip(chances.keys, chances(np.ones(len(chances.keys), bool)).tolist(), strict=True))
    draws = rng.normal(mean, sd, (20_000, 400)).argmax(1)
    for key in (7, best[0], best[1]):
        assert found[key] == pytest.approx((draws == key).mean(), abs=0.02)
