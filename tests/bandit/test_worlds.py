"""Regret under switches, at rest and under slow drift, and a floor of revenue: MODEL.md section 6, "Proof"."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bandit.settings import BanditSettings
from tests.bandit import worlds

Array = np.ndarray

SETTINGS = BanditSettings(experience_rate=worlds.BASE, explore=worlds.EXPLORE)
SEEDS = 20


def _regrets(world: Callable[[np.random.Generator, int], Array], seeds: int) -> Array:
    """[seeds, 3]: ours, sampling without drift handling, epsilon-greedy."""
    out = []
    for seed in range(seeds):
        rates = world(np.random.default_rng(1_000 + seed), worlds.ROUNDS)
        players: list[worlds.Player] = [worlds.Ours(SETTINGS), worlds.Sampling(), worlds.Greedy()]
        out.append([worlds.regret(rates, worlds.play(player, rates, seed)) for player in players])
    return np.array(out)


def _tell(what: str, regrets: Array) -> None:
    ours, sampling, greedy = regrets.mean(0)
    errors = regrets.std(0, ddof=1) / np.sqrt(len(regrets))
    of_all = ", ".join(f"{m:,.0f} +- {1.96 * e:,.0f}" for m, e in zip(regrets.mean(0), errors, strict=True))
    print(f"{what}, {len(regrets)} seeds: regret of ours, sampling, epsilon-greedy {of_all}; {ours / sampling:.3f}, {ours / greedy:.3f}")


def _floor(seeds: int) -> Array:
    """[seeds, 2]: revenue over its floor, experience over that of the best arm that meets it by itself; rates switch."""
    out = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        _, revenue, floor = worlds.conflicting(rng)
        rates = worlds.switching(rng, worlds.ROUNDS)
        settings = BanditSettings(experience_rate=worlds.BASE, revenue_rate=0.15, revenue_floor=floor)
        chosen = worlds.play(worlds.Ours(settings), rates, seed, revenue)
        best = rates[:, revenue >= floor].mean(0).max()
        out.append([revenue[chosen].mean() / floor, rates[np.arange(len(chosen)), chosen].mean() / best])
    return np.array(out)


@pytest.mark.prove
def test_two_switches_cost_less_than_without_drift_handling() -> None:
    ours, sampling, greedy = _regrets(worlds.switching, 1).mean(0)
    assert ours <= 0.75 * sampling
    assert ours <= 0.6 * greedy


def test_a_floor_of_revenue_is_met() -> None:
    revenue, experience = _floor(1)[0]
    assert revenue >= 0.98
    assert experience >= 1


@pytest.mark.prove
def test_20_seeds_of_two_switches() -> None:
    regrets = _regrets(worlds.switching, SEEDS)
    _tell("two switches", regrets)
    ours, sampling, greedy = regrets.mean(0)
    assert ours <= 0.75 * sampling
    assert ours <= 0.6 * greedy


@pytest.mark.prove
def test_20_seeds_of_standing_still() -> None:
    regrets = _regrets(worlds.standing, SEEDS)
    _tell("standing still", regrets)
    assert regrets[:, 0].mean() <= 1.1 * regrets[:, 1].mean()


@pytest.mark.prove
def test_20_seeds_of_slow_drift() -> None:
    regrets = _regrets(worlds.drifting, SEEDS)
    _tell("slow drift", regrets)
    assert regrets[:, 0].mean() <= regrets[:, 1].mean()


@pytest.mark.prove
def test_20_seeds_of_a_floor_of_revenue() -> None:
    found = _floor(SEEDS)
    revenue, experience = found.mean(0)
    print(f"floor, {SEEDS} seeds: revenue / floor {revenue:.3f} (least {found[:, 0].min():.3f}), experience / best arm that meets it "
          f"{experience:.3f} (least {found[:, 1].min():.3f})")  # fmt: skip
    assert found[:, 0].min() >= 0.98
    assert experience >= 1
