"""Intervals cover a known truth as often as they say: of every arm from one log, and of lists looked at from the top.

By logs of fixed chances; by those of a policy that learns: test_own_log.py.
"""
from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from bandit import bootstrap, reward_model
from bandit import estimators as e
from bandit.estimators import Ratios
from bandit.slate_estimators import cascade_dr, rips, sips
from bandit.slates import one_by_one
from bandit.verdict import diagnostics, reasons

Array = np.ndarray

RATES = np.array([0.05, 0.1, 0.2, 0.3, 0.4])
LOGGED = np.array([0.4, 0.25, 0.15, 0.12, 0.08])
TARGET = np.array([0.05, 0.1, 0.2, 0.25, 0.4])
ROWS, PLACES = 3_000, 3


def arms_covered(seed: int) -> Array:
    """[3 estimators, arms]: does the interval of `always this arm` hold its rate?"""
    rng = np.random.default_rng(seed)
    arm = rng.choice(5, size=ROWS, p=LOGGED)
    r = (rng.random(ROWS) < RATES[arm]).astype(float)
    rows, none = np.arange(ROWS), np.zeros(ROWS, int)
    fold = reward_model.random_folds(rows, seed)
    q = reward_model.fitted(reward_model.LoggedRewards(arm, none, r, 5), fold, by_time=False)[:, 0]
    of = []
    for chosen in range(5):
        w = (arm == chosen) / LOGGED[arm]
        assert not list(reasons(diagnostics(w, 1.0, 0.0, 1.0)))
        of += [e.ips(w, r), e.dr(w, r, q[fold, arm], q[fold, chosen]), e.sndr(w, r, q[fold, arm], q[fold, chosen])]
    return hold(of, seed, np.repeat(RATES, 3)).reshape(5, 3).T


def lists_covered(seed: int) -> Array:
    """[3 estimators]: does the interval of TARGET's clicks a list hold the truth? A user goes down until the first click."""
    rng = np.random.default_rng(seed)
    arm, p = one_by_one(np.repeat(LOGGED[None], ROWS, 0), rng.random((ROWS, PLACES)))
    r = first_clicks(rng, RATES[arm])
    return hold(of_lists(arm, p, r, reward_model.random_folds(np.arange(ROWS), seed), by_time=False), seed, clicks_a_list(RATES))


def first_clicks(rng: np.random.Generator, rates: Array) -> Array:
    """[S, K] of users who go down a list until they click."""
    clicks = rng.random(rates.shape) < rates
    return (clicks & (np.cumsum(clicks, 1) == 1)).astype(float)


def of_lists(arm: Array, p: Array, r: Array, fold: Array, by_time: bool) -> list[Ratios]:
    """TARGET by SIPS, RIPS and Cascade-DR, q̂ from other lists (`by_time`: earlier ones); chances p [S, K] given those above."""
    lists, places = arm.shape
    taken = np.concatenate((np.zeros((lists, 1)), np.cumsum(TARGET[arm], 1)[:, :-1]), 1)
    w, there = TARGET[arm] / (1 - taken) / p, np.ones(arm.shape, bool)
    place = np.arange(places)
    folds, each = np.repeat(fold, places), np.tile(place, lists)
    fitted = reward_model.fitted(reward_model.LoggedRewards(arm.ravel(), each, r.ravel(), 5, places), folds, by_time)[fold]  # [S, K, arms]
    above = np.zeros(arm.shape)
    for k in range(1, places):
        above[:, k] = sum(TARGET[arm[:, j]] * fitted[np.arange(lists), k, arm[:, j]] for j in range(k))
    q, q_policy = np.take_along_axis(fitted, arm[:, :, None], 2)[:, :, 0], (fitted @ TARGET - above) / (1 - taken)
    ones = np.ones(lists)
    return [[(adds, ones)] for adds in (sips(w, r, there), rips(w, r, there), cascade_dr(w, r, q, q_policy, there))]


def hold(of: list[Ratios], seed: int, truth: Array | float) -> Array:
    """Whether the interval of each holds its truth; each row a request."""
    rows = np.arange(len(of[0][0][0]))
    read = bootstrap.estimates(of, rows, 1_000, seed)
    found = [bootstrap.interval(column, ratios, rows) for column, ratios in zip(read.T, of, strict=True)]
    low, high = np.array([(each.low, each.high) for each in found]).T
    return (low <= truth) & (truth <= high)


def clicks_a_list(rates: Array) -> float:
    """Of TARGET, over all orders."""
    out = 0.0
    for order in permutations(range(5), PLACES):
        chance, left, passed = 1.0, 1.0, 1.0
        for arm in order:
            chance, left, passed = chance * TARGET[arm] / left, left - TARGET[arm], passed * (1 - rates[arm])
        out += chance * (1 - passed)
    return out


def held(seeds: int, least: int) -> None:
    arms = np.sum([arms_covered(seed) for seed in range(seeds)], 0)
    lists = np.sum([lists_covered(seed) for seed in range(seeds)], 0)
    print(f"of {seeds} logs of {ROWS:,}, the 95 % interval holds the truth in (by arm)")
    for name, counts in zip(("ips", "dr", "sndr"), arms, strict=True):
        print(f"  {name:10} {', '.join(map(str, counts))}")
    for name, count in zip(("sips", "rips", "cascade-dr"), lists, strict=True):
        print(f"  {name:10} {count}")
    assert arms.min() >= least and lists.min() >= least


def test_intervals_cover_every_arm_and_lists_in_20_logs() -> None:
    held(20, 16)  # P(fewer than 16 of 20 at 95 %) = 0.0003


@pytest.mark.prove
def test_intervals_cover_every_arm_and_lists_in_90_of_100_logs() -> None:
    held(400, 360)  # 400 tell 0.95 from 0.90; of 100, one of five arms at 0.95 is below 90 in one run of twenty
