"""Against Thompson sampling as others wrote it: river's and MABWiser's, each with a prior of Beta(1, 1) and nothing forgotten.

Ours is set to the same law: next to no prior (the segment's own prior is learned, theirs is not) but one round won and one lost of
every arm, no drift, next to no exploring.
"""
from __future__ import annotations

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy
from river import bandit, proba
from scipy import stats

from bandit import quadrature
from bandit.settings import BanditSettings
from tests.bandit import worlds

Array = np.ndarray

ARMS = worlds.ARMS
FLAT = BanditSettings(prior_rounds=0.12, experience_rate=0.9, revenue_rate=0.9, explore=1e-9, alarm=0.0)


def flat() -> worlds.Ours:
    """With posteriors of Beta(1.05, 1.07)."""
    ours, every = worlds.Ours(FLAT), np.tile(np.arange(ARMS), 2)
    ours.learn(every, np.repeat([1.0, 0.0], ARMS), np.zeros(2 * ARMS))
    return ours


class River:
    """A player of `worlds`; one pull a round."""

    def __init__(self, seed: int) -> None:
        self.policy = bandit.ThompsonSampling(reward_obj=proba.Beta(1, 1), seed=seed)

    def choose(self, n: int, rng: np.random.Generator) -> Array:
        return np.array([self.policy.pull(range(ARMS)) for _ in range(n)])

    def learn(self, arm: Array, reward: Array, revenue: Array) -> None:
        for k, r in zip(arm.tolist(), reward.tolist(), strict=True):
            self.policy.update(k, bool(r))


class Mab:
    """The same of MABWiser, which wants rewards before it is asked: until then, all arms are alike."""

    def __init__(self, seed: int) -> None:
        self.policy = MAB(list(range(ARMS)), LearningPolicy.ThompsonSampling(), seed=seed)
        self.taught = False

    def choose(self, n: int, rng: np.random.Generator) -> Array:
        return np.array([self.policy.predict() for _ in range(n)]) if self.taught else rng.integers(0, ARMS, n)

    def learn(self, arm: Array, reward: Array, revenue: Array) -> None:
        (self.policy.partial_fit if self.taught else self.policy.fit)(arm.tolist(), reward.tolist())
        self.taught = True


def taught() -> tuple[worlds.Ours, River, Mab]:
    """All three by the same 3,000 rounds."""
    rng = np.random.default_rng(1)
    arm = rng.integers(0, ARMS, 3_000)
    reward, none = (rng.random(3_000) < np.linspace(0.05, 0.09, ARMS)[arm]).astype(float), np.zeros(3_000)
    players = flat(), River(2), Mab(3)
    for player in players:
        player.learn(arm, reward, none)
    return players


def test_the_same_rounds_leave_the_same_counts() -> None:
    ours, river, mab = taught()
    mine, kept = ours.policy.arms.won[0, 0], (1 - 1 / ours.policy.memory) ** 3_000  # the far cap forgets 3 % of the oldest
    a = np.array([river.policy._rewards[k].alpha for k in range(ARMS)])
    assert a.tolist() == [mab.policy._imp.arm_to_success_count[k] for k in range(ARMS)]
    assert (mine <= a).all() and (mine >= kept * a).all()


@pytest.mark.parametrize("of", [0, 1], ids=["river", "mabwiser"])
def test_their_choices_come_as_often_as_is_computed(of: int) -> None:
    player = taught()[1 + of]
    shapes = [player.policy._rewards[k] for k in range(ARMS)] if isinstance(player, River) else []
    a = [beta.alpha for beta in shapes] or [player.policy._imp.arm_to_success_count[k] for k in range(ARMS)]
    b = [beta.beta for beta in shapes] or [player.policy._imp.arm_to_fail_count[k] for k in range(ARMS)]
    chances = quadrature.beta(np.array(a, float), np.array(b, float))[:, 0]
    chosen = np.bincount(player.choose(20_000, np.random.default_rng(4)), minlength=ARMS)
    assert stats.chisquare(chosen, 20_000 * chances).pvalue > 0.001


def alike(seeds: int, rounds: int) -> None:
    regrets = []
    for seed in range(seeds):
        rates = worlds.standing(np.random.default_rng(1_000 + seed), rounds)
        players: tuple[worlds.Player, ...] = (flat(), River(seed), Mab(seed))
        regrets.append([worlds.regret(rates, worlds.play(player, rates, seed)) for player in players])
    of = np.array(regrets)
    told = ", ".join(f"{m:.1f} +- {1.96 * s:.1f}" for m, s in zip(of.mean(0), of.std(0, ddof=1) / np.sqrt(seeds), strict=True))
    print(f"{seeds} worlds of {rounds:,} rounds, regret of ours, river's, MABWiser's: {told}")
    for other in (1, 2):
        assert stats.ttest_ind(of[:, 0], of[:, other], equal_var=False).pvalue > 0.001


def test_regret_is_theirs_in_8_short_worlds() -> None:
    alike(8, 2_000)


@pytest.mark.prove
def test_regret_is_theirs_in_100_worlds() -> None:
    alike(100, 6_000)
