"""The policy: what is logged is what acted; what was learned outlives restarts and other arms."""
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bandit.policy import Policy
from bandit.settings import BanditSettings
from online_model.adwin import Adwin

Array = np.ndarray

NAMES = ("grid-0", "grid-1", "tail", "explore")


def _taught(settings: BanditSettings, rounds: int, seed: int = 1, policy: Policy | None = None) -> Policy:
    """By its own choices in batches of 100; segment 1 likes the last arm best, which comes up at the half."""
    policy = policy or Policy(NAMES, 2, settings, Adwin)
    rng = np.random.default_rng(seed)
    for at in range(0, rounds, 100):
        segment = rng.integers(0, 2, 100)
        arm, _ = policy.choose(segment, rng.random(100))
        rate = 0.05 + 0.03 * arm + 0.3 * ((segment == 1) & (arm == 3) & (at > rounds // 2))
        policy.learn(segment, arm, (rng.random(100) < rate) * rng.random(100), rng.random(100) * 0.1 * (4 - arm))
    return policy


@pytest.mark.parametrize(
    "settings", [BanditSettings(), BanditSettings(arms="gaussian"), BanditSettings(revenue_weight=0.5), BanditSettings(revenue_floor=0.2)]
)
def test_a_million_choices_are_as_frequent_as_logged(settings: BanditSettings) -> None:
    policy, rng, n = _taught(settings, 1_000), np.random.default_rng(2), 1_000_000
    segment = rng.integers(0, 2, n)
    arm, logged = policy.choose(segment, rng.random(n))
    for g in range(2):
        mine, chances = segment == g, policy.probabilities(g)
        assert chances.sum() == pytest.approx(1, abs=1e-9)
        assert chances.min() >= 0.02 / 4
        assert (logged[mine] == chances[arm[mine]]).all()
        assert stats.chisquare(np.bincount(arm[mine], minlength=4), mine.sum() * chances).pvalue > 0.001


def test_chances_are_those_of_posterior_samples() -> None:
    policy = _taught(BanditSettings(), 2_000)
    sampled = np.bincount(policy.draws(1, 400_000, np.random.default_rng(3)).argmax(1), minlength=4)
    assert stats.chisquare(sampled, 400_000 * policy.best(1)).pvalue > 0.001


def test_two_objectives_are_a_gaussian_of_the_same_moments_for_choice_and_log() -> None:
    policy = _taught(BanditSettings(revenue_weight=0.5), 2_000)
    a, b = policy.arms.beta(0, np.array([0.1, 0.05]), 20.0)
    both = stats.beta(a, b).rvs((400_000, 2, 4), random_state=1)
    score = both[:, 0] + 0.5 * both[:, 1]
    draws = policy.draws(0, 400_000, np.random.default_rng(3))
    assert draws.mean(0) == pytest.approx(score.mean(0), abs=1e-3)
    assert draws.std(0) == pytest.approx(score.std(0), rel=0.01)
    sampled = np.bincount(draws.argmax(1), minlength=4)
    assert stats.chisquare(sampled, 400_000 * policy.best(0)).pvalue > 0.001


@pytest.mark.parametrize("settings", [BanditSettings(), BanditSettings(revenue_floor=0.2, floor_rounds=300, floor_step=1.0)])
def test_after_5000_rounds_and_a_restart_the_next_choices_are_those_of_a_twin(settings: BanditSettings) -> None:
    whole, stopped = _taught(settings, 5_000), _taught(settings, 5_000)
    restored = Policy(NAMES, 2, settings, Adwin)
    restored.load(stopped.checkpoint(), stopped.learned())
    rng = np.random.default_rng(6)
    for _ in range(100):
        segment, uniform = rng.integers(0, 2, 1), rng.random(1)
        mine, theirs = restored.choose(segment, uniform), whole.choose(segment, uniform)
        assert (mine[0].tolist(), mine[1].tolist()) == (theirs[0].tolist(), theirs[1].tolist())
        for policy in (restored, whole):
            policy.learn(segment, mine[0], uniform, uniform * 0.3)
    _taught(settings, 5_000, 8, whole)
    _taught(settings, 5_000, 8, restored)
    for name, array in whole.checkpoint().items():
        assert restored.checkpoint()[name].tolist() == array.tolist(), name
    assert whole.drift["experience"].alarms.sum() > 0
    assert ("revenue" in whole.drift) == (settings.revenue_floor + settings.revenue_weight > 0)


def test_a_copy_that_follows_answers_the_same_without_the_detectors() -> None:
    teacher, copy = _taught(BanditSettings(revenue_floor=0.2), 2_000), Policy(NAMES, 2, BanditSettings(revenue_floor=0.2), Adwin)
    copy.load(teacher.arrays(), teacher.learned())
    assert copy.probabilities(1).tolist() == teacher.probabilities(1).tolist()


def test_arms_that_come_and_go_leave_the_others_what_they_learned() -> None:
    old = _taught(BanditSettings(), 3_000)
    new = Policy(("explore", "new", "grid-0"), 2, BanditSettings(), Adwin)
    new.load(old.checkpoint(), old.learned())
    assert new.arms.won[:, :, [0, 2]].tolist() == old.arms.won[:, :, [3, 0]].tolist()
    assert new.arms.won[:, :, 1].tolist() == [[0, 0], [0, 0]]
    (now,), (before,) = new.drift.values(), old.drift.values()
    assert now.detectors[1][2].width == before.detectors[1][0].width > 0


def test_what_can_not_be_carried_over_is_refused_by_name() -> None:
    old = _taught(BanditSettings(), 100)
    for other, name in (
        (Policy(NAMES, 3, BanditSettings(), Adwin), "segments was 2"),
        (Policy(NAMES, 2, BanditSettings(arms="gaussian"), Adwin), "arms was 'beta'"),
        (Policy(NAMES, 2, BanditSettings(revenue_most=2.0), Adwin), "revenue_most was 1.0"),
        (Policy(("a", "b"), 2, BanditSettings(), Adwin), r"none of the arms \['a', 'b'\]"),
    ):
        with pytest.raises(ValueError, match=name):
            other.load(old.checkpoint(), old.learned())


def test_an_alarm_cuts_the_counts_of_its_segment_alone() -> None:
    policy = Policy(NAMES, 2, BanditSettings(), Adwin)
    rng = np.random.default_rng(1)
    zeros = np.zeros(2_000, np.int64)
    for g in (0, 1):
        policy.learn(zeros + g, zeros, (rng.random(2_000) < 0.05).astype(float), np.zeros(2_000))
    before = policy.arms.lost[0, :, 0].copy()
    assert policy.learn(zeros[:500] + 1, zeros[:500], np.ones(500), np.zeros(500)) == [1]
    assert policy.arms.lost[0, 0, 0] == before[0]
    assert policy.arms.lost[0, 1, 0] == pytest.approx(0.1 * before[1], rel=0.01)  # the far cap takes half a percent


def test_rewards_that_are_no_numbers_are_refused_and_others_cut_to_their_range() -> None:
    policy = Policy(NAMES, 1, BanditSettings(revenue_most=2.0), Adwin)
    with pytest.raises(ValueError, match="finite"):
        policy.learn(np.array([0]), np.array([1]), np.array([np.nan]), np.array([0.0]))
    policy.learn(np.array([0]), np.array([1]), np.array([7.0]), np.array([1.0]))
    assert policy.arms.won[:, 0, 1].tolist() == [1.0, 0.5]


def test_one_arm_or_two_of_a_name_are_refused() -> None:
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="different names"):
            Policy(names, 1, BanditSettings(), Adwin)


def test_memory_is_never_so_short_that_an_arm_has_no_successes() -> None:
    # 4 arms at .1: 50 successes an arm need 2,000 rounds
    assert Policy(NAMES, 1, BanditSettings(memory_rounds=10), Adwin).memory == 2_000


@pytest.mark.parametrize(("more", "noticed"), [({}, False), ({"revenue_floor": 0.3}, True), ({"revenue_weight": 0.5}, True)])
def test_revenue_that_changes_is_noticed_where_it_weighs_and_only_there(more: dict[str, float], noticed: bool) -> None:
    """Experience stands still; what each round pays falls from .6 to .1 at the half."""
    policy, rng = Policy(NAMES, 2, BanditSettings(**more), Adwin), np.random.default_rng(2)
    alarms = []
    for paid in (0.6, 0.1):
        for _ in range(20):
            zeros = np.zeros(100, np.int64)
            alarms.append(policy.learn(zeros, zeros, (rng.random(100) < 0.2).astype(float), (rng.random(100) < paid).astype(float)))
    assert alarms[:20] == [[]] * 20 and ([0] in alarms[20:]) == noticed
    if noticed:  # what was paid before is a prior then, no longer a verdict
        assert policy.posteriors(0)[0][1, 0] < 0.2
        assert policy.drift["revenue"].alarms[0, 0] >= 1 and policy.drift["experience"].alarms.sum() == 0
    else:
        assert policy.posteriors(0)[0][1, 0] > 0.3
