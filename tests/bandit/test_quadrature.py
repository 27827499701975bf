"""Chances of arms: closed forms, adaptive integrals, the published production priors."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandit import quadrature
from tests.oracles import bandit as oracle


def test_two_arms_have_the_closed_form() -> None:
    assert oracle.beats(3, 7, 2, 8) == pytest.approx(0.711764705882353, abs=1e-14)
    assert quadrature.beta(np.array([3, 2]), np.array([7, 8]))[0, 0] == pytest.approx(0.711764705882353, abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 900), st.integers(1, 60), st.integers(1, 900))
def test_any_two_arms_have_the_closed_form(a1: int, b1: int, a2: int, b2: int) -> None:
    assert quadrature.beta(np.array([a1, a2]), np.array([b1, b2]))[0, 0] == pytest.approx(oracle.beats(a1, b1, a2, b2), abs=1e-10)


def test_three_arms_and_gaussians_are_those_of_the_page() -> None:
    three = quadrature.beta(np.array([1, 2, 5]), np.array([1, 3, 15]))[:, 0]
    assert three == pytest.approx([0.56857707, 0.34940711, 0.08201581], abs=1e-8)
    gaussian = quadrature.gaussian(np.array([0, 0.1, 0.3]), np.array([0.5, 0.2, 0.1]))[:, 0]
    assert gaussian == pytest.approx([0.26367132, 0.14036151, 0.59596717], abs=1e-7)


def test_places_are_those_of_an_adaptive_integral_over_who_is_larger() -> None:
    a, b = [2.0, 5.0, 0.7], [3.0, 15.0, 2.0]
    want = oracle.places([stats.beta(*ab) for ab in zip(a, b, strict=True)], (0, 1))
    assert quadrature.beta(np.array(a), np.array(b), 3) == pytest.approx(np.array(want), abs=1e-8)
    mean, sd = [0.0, 0.2, -1.0], [1.0, 0.3, 2.0]
    want = oracle.places([stats.norm(*ms) for ms in zip(mean, sd, strict=True)], (-15, 15))
    assert quadrature.gaussian(np.array(mean), np.array(sd), 3) == pytest.approx(np.array(want), abs=1e-8)


@pytest.mark.parametrize("arms", [2, 4, 12, 20, 34])
def test_identical_arms_have_equal_chances(arms: int) -> None:
    for a, b in ((1.0, 1.0), (0.1, 1.9), (3_000.0, 90_000.0)):
        assert quadrature.beta(np.full(arms, a), np.full(arms, b))[:, 0] == pytest.approx(1 / arms, abs=1e-12)
    assert quadrature.gaussian(np.full(arms, 0.3), np.full(arms, 0.01))[:, 0] == pytest.approx(1 / arms, abs=1e-12)


@pytest.mark.parametrize("arms", [4, 12, 20])
def test_chances_add_up_before_they_are_made_to(arms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadrature, "TOLERANCE", 1e-10)  # it raises above; the page allows 1e-9
    rng = np.random.default_rng(arms)
    rates = rng.uniform(0.02, 0.09, arms)
    flat = np.ones(arms), np.ones(arms)
    sharp = 1e6 * rates, 1e6 * (1 - rates)
    new = np.append(sharp[0][1:], 1.0), np.append(sharp[1][1:], 19.0)
    poles = rng.uniform(0.05, 0.9, arms), rng.uniform(0.05, 0.9, arms)
    hopeless = np.full(arms, 0.05), rng.uniform(1, 1e5, arms)
    for a, b in (flat, sharp, new, poles, hopeless):
        chances = quadrature.beta(a, b, 3)
        assert chances.sum(0) == pytest.approx(1, abs=1e-9)
        assert (chances >= 0).all()


def test_small_chances_are_those_of_an_integral_and_not_nil() -> None:
    # One new arm among sharp ones: simulation leaves most of the others at 0.
    a, b = np.array([50.0, 80.0, 30.0, 1.0]), np.array([950.0, 920.0, 970.0, 19.0])
    want = oracle.places([stats.beta(*ab) for ab in zip(a, b, strict=True)], (0, 1), first=1)
    got = quadrature.beta(a, b)[:, 0]
    assert got == pytest.approx(np.array(want)[:, 0], abs=1e-9)
    assert 0 < got[2] < 1e-6


def test_men_of_open_bandit_have_the_published_chances_by_rank() -> None:
    chances = quadrature.beta(np.array(oracle.MEN_ALPHA), np.array(oracle.MEN_BETA), 3)
    assert chances[13] == pytest.approx([0.286605, 0.313708, 0.208709], abs=1e-6)
    assert chances[23] == pytest.approx([0.153754, 0.162048, 0.154609], abs=1e-6)
    assert chances.min() == pytest.approx(0.00029977, abs=1e-8)
    assert chances.sum(0) == pytest.approx(1, abs=1e-9)


def test_the_floor_leaves_every_arm_its_share() -> None:
    assert quadrature.with_exploration(np.array([1.0, 0.0]), 0.02).tolist() == pytest.approx([0.99, 0.01])


def test_an_arm_without_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        quadrature.gaussian(np.zeros(2), np.array([1.0, 0.0]))
