"""Worlds in which the best arm is known, and who plays in them: MODEL.md section 6, "Proof".

Eight arms of rates .02 to .09, 60,000 rounds in batches of 100 whose rewards come 200 rounds later. Two switches: the order of the
arms is another one from a third and from two thirds on.
"""
from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

from bandit.policy import Policy
from bandit.settings import BanditSettings
from online_model.adwin import Adwin

Array = np.ndarray

ARMS, ROUNDS, BATCH, DELAY = 8, 60_000, 100, 2  # DELAY in batches
EXPLORE = 0.02
BASE = 0.055  # mean rate


class Player(Protocol):
    def choose(self, n: int, rng: np.random.Generator) -> Array: ...

    def learn(self, arm: Array, reward: Array, revenue: Array) -> None: ...


class Ours:
    def __init__(self, settings: BanditSettings) -> None:
        self.policy = Policy([f"{k}" for k in range(ARMS)], 1, settings, Adwin)

    def choose(self, n: int, rng: np.random.Generator) -> Array:
        return self.policy.choose(np.zeros(n, np.int64), rng.random(n))[0]

    def learn(self, arm: Array, reward: Array, revenue: Array) -> None:
        self.policy.learn(np.zeros(len(arm), np.int64), arm, reward, revenue)


class Sampling:
    """Beta Thompson sampling as in the textbook, with the same prior and share of uniform choices; nothing is ever forgotten."""

    def __init__(self) -> None:
        self.won, self.lost = np.full(ARMS, 20 * BASE / 2), np.full(ARMS, 20 * (1 - BASE / 2))

    def choose(self, n: int, rng: np.random.Generator) -> Array:
        best = rng.beta(self.won, self.lost, (n, ARMS)).argmax(1)
        return np.where(rng.random(n) < EXPLORE, rng.integers(0, ARMS, n), best)

    def learn(self, arm: Array, reward: Array, revenue: Array) -> None:
        np.add.at(self.won, arm, reward)
        np.add.at(self.lost, arm, 1 - reward)


class Greedy:
    """Epsilon-greedy: the best mean so far, but for a tenth of the rounds."""

    def __init__(self) -> None:
        self.total, self.n = np.zeros(ARMS), np.zeros(ARMS)

    def choose(self, n: int, rng: np.random.Generator) -> Array:
        best = np.where(self.n > 0, self.total / np.maximum(self.n, 1), 1.0).argmax()
        return np.where(rng.random(n) < 0.1, rng.integers(0, ARMS, n), best)

    def learn(self, arm: Array, reward: Array, revenue: Array) -> None:
        np.add.at(self.total, arm, reward)
        np.add.at(self.n, arm, 1)


def switching(rng: np.random.Generator, rounds: int) -> Array:
    """Rates [rounds, K]; every phase has another best arm."""
    rates = np.linspace(0.02, 0.09, ARMS)
    orders = [rng.permutation(ARMS)]
    while len(orders) < 3:
        order = rng.permutation(ARMS)
        if rates[order].argmax() != rates[orders[-1]].argmax():
            orders.append(order)
    return np.stack([rates[order] for order in orders])[np.arange(rounds) * 3 // rounds]


def standing(rng: np.random.Generator, rounds: int) -> Array:
    return np.tile(np.linspace(0.02, 0.09, ARMS)[rng.permutation(ARMS)], (rounds, 1))


def drifting(rng: np.random.Generator, rounds: int) -> Array:
    """Each arm goes up and down once or so between .02 and .09, at its own pace and time."""
    turns, start = rng.uniform(0.5, 1.5, ARMS), rng.uniform(0, 1, ARMS)
    return 0.055 + 0.035 * np.sin(2 * np.pi * (start + turns * np.arange(rounds)[:, None] / rounds))


def play(player: Player, rates: Array, seed: int, revenue: Array | None = None) -> Array:
    """Arms that were chosen [rounds]; revenue [K]: the chance that an arm earns 1."""
    rng = np.random.default_rng(seed)
    revenue = np.zeros(ARMS) if revenue is None else revenue
    waiting: deque[tuple[Array, Array, Array]] = deque()
    chosen = []
    for at in range(0, len(rates), BATCH):
        arm = player.choose(BATCH, rng)
        reward = (rng.random(BATCH) < rates[np.arange(at, at + BATCH), arm]).astype(float)
        waiting.append((arm, reward, (rng.random(BATCH) < revenue[arm]).astype(float)))
        chosen.append(arm)
        if len(waiting) > DELAY:
            player.learn(*waiting.popleft())
    return np.concatenate(chosen)


def regret(rates: Array, chosen: Array) -> float:
    """Of the whole run, by the rates themselves."""
    return float((rates.max(1) - rates[np.arange(len(rates)), chosen]).sum())


def conflicting(rng: np.random.Generator) -> tuple[Array, Array, float]:
    """Rates [K], revenue [K] that falls as rates rise, more or less, and a floor between the best arm's revenue and the most."""
    rates = np.linspace(0.02, 0.09, ARMS)
    revenue = np.linspace(0.3, 0.05, ARMS) + rng.uniform(-0.03, 0.03, ARMS)
    return rates, revenue, float(revenue[-1] + rng.uniform(0.3, 0.6) * (revenue.max() - revenue[-1]))
