"""How many choices a second the policy makes: plain Thompson sampling in batches, answers one by one with their chances, and pages:
the user's segment, the chances of all strategies there, one drawn, and by it the order of a page's modules."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from bandit.policy import Policy
from bandit.segments import SEGMENTS
from bandit.settings import BanditSettings
from bandit.strategies import order, scores, strategies
from benchmarks.figure import Figure
from online_model.adwin import Adwin
from online_model.features import Reward
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.pages import PageSettings

ARMS, BATCH, ANSWERS, LEARN_EVERY = 8, 10_000, 3_000, 500
PAGES, CATEGORIES, MODULES, EARN_EVERY = 5_000, 12, 5, 1_000


def measure() -> Iterator[Figure]:
    """A policy of 8 arms that has learned for 60,000 rounds; it learns on every 500 answers: twice a second at 1,000 a second."""
    rng = np.random.default_rng(0)
    policy = Policy([f"arm {k}" for k in range(ARMS)], SEGMENTS, BanditSettings(), Adwin)
    segment, arm = rng.integers(0, SEGMENTS, 60_000), rng.integers(0, ARMS, 60_000)
    policy.learn(segment, arm, (rng.random(60_000) < 0.02 + 0.01 * arm).astype(float), rng.random(60_000) * 0.1)
    a, b = policy.arms.beta(0, np.array([0.1, 0.05]), 20.0)

    def loop() -> None:
        for _ in range(BATCH):
            int(np.argmax(rng.beta(a[0], b[0])))

    alone = _rate(BATCH, loop, 1)
    yield Figure(
        what="plain Thompson choices in batches", unit="/s", ours=_rate(BATCH, lambda: policy.draws(0, BATCH, rng).argmax(1), 20),
        baseline="numpy, one by one", theirs=alone, budget="> 80,000/s",
    )  # fmt: skip
    yield Figure(
        what="choices with their chances, in batches", unit="/s",
        ours=_rate(BATCH, lambda: policy.choose(segment[:BATCH], rng.random(BATCH)), 20),
        baseline="numpy, one by one, no chances", theirs=alone,
    )  # fmt: skip
    yield Figure(
        what="answers one by one, learning in between", unit="/s", ours=_rate(ANSWERS, lambda: _answers(policy, rng), 1),
        baseline="numpy, one by one, no chances", theirs=alone, budget="> 1,000/s",
    )  # fmt: skip
    yield Figure(
        what="page answers one by one, learning every 1,000", unit="/s", ours=_rate(PAGES, _pages(rng), 1),
        baseline="numpy, one by one, no chances", theirs=alone, budget="> 1,000/s",
    )  # fmt: skip


def _pages(rng: np.random.Generator) -> Callable[[], None]:
    """Users of all segments, in turn; every thousand pages, a thousand rewards come in and all chances are computed anew."""
    ways = {way.name: way for way in strategies(PageSettings().revenue_blends)}
    strategy_bandit = StrategyBandit({"page": list(ways)}, BanditSettings())
    activity, domain = rng.exponential(50.0, PAGES), rng.integers(1, 5, PAGES)
    figures = rng.random((PAGES, 3, CATEGORIES))
    earned = rng.random((PAGES, 2)) * 0.2
    uniform = rng.random((PAGES, 1 + MODULES))

    def run() -> None:
        rewards = []
        for n in range(PAGES):
            name, choice = strategy_bandit.choose("page", float(activity[n]), int(domain[n]), float(uniform[n, 0]))
            way = ways[name]
            if way.kind != "fixed":
                order(way, scores(way, *figures[n]), uniform[n, 1:])
            rewards.append(
                Reward(
                    id=n,
                    ts=n,
                    shown_ms=n,
                    user=n,
                    surface="page",
                    strategy=name,
                    arms=list(choice.arms),
                    chances=list(choice.propensities),
                    segment=choice.segment,
                    activity=choice.activity,
                    domain=choice.domain,
                    experience=float(earned[n, 0]),
                    revenue=float(earned[n, 1]),
                    seen=True,
                )
            )
            if len(rewards) == EARN_EVERY:
                strategy_bandit.learn(rewards)
                rewards.clear()

    return run


def _answers(policy: Policy, rng: np.random.Generator) -> None:
    for n in range(ANSWERS):
        segment = rng.integers(0, SEGMENTS, 1)
        arm, _ = policy.choose(segment, rng.random(1))
        if n % LEARN_EVERY == 0:
            policy.learn(segment, arm, np.ones(1), np.ones(1))


def _rate(n: int, run: Callable[[], object], times: int) -> float:
    """Of n a run, the median run."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return n / float(np.median(taken))
