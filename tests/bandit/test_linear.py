"""Linear arms: MABWiser's regression and loops over rounds give the same; chances are those of samples; users who differ differ."""
from __future__ import annotations

import numpy as np
import pytest
from mabwiser.mab import MAB, LearningPolicy
from scipy import stats

from bandit import quadrature
from bandit.arms import empty
from bandit.linear import VECTOR, LinearArms
from bandit.policy import Policy
from bandit.settings import BanditSettings
from online_model.adwin import Adwin

Array = np.ndarray

NAMES = ("blend-0", "tail", "fixed")
RATES = np.array([0.1, 0.05])
LINEAR = BanditSettings(arms="linear")


def vectors(n: int, rng: np.random.Generator) -> Array:
    v = rng.normal(size=(n, VECTOR))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def rounds(n: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Segments, vectors, arms and rewards [2, n]; the sign of a user's first number says which arm they like."""
    rng = np.random.default_rng(seed)
    segment, vector, arm = rng.integers(0, 2, n), vectors(n, rng), rng.integers(0, 3, n)
    rate = 0.1 + 0.4 * ((vector[:, 0] > 0) == (arm == 1))
    return segment, vector, arm, np.stack([rng.random(n) < rate, 0.3 * rng.random(n)]).astype(float)


def test_the_regression_is_that_of_mabwiser() -> None:
    segment, vector, arm, rewards = rounds(400, 1)
    ours = LinearArms(2, 3, RATES, 20.0)
    ours.add(segment, vector, arm, rewards, np.inf)
    x = np.concatenate([np.ones((400, 1)), np.eye(2)[segment], vector], 1)
    for of, p in enumerate(RATES / 2):
        theirs = MAB([0, 1, 2], LearningPolicy.LinTS(alpha=1.0, l2_lambda=20.0), seed=1)
        theirs.fit(arm.tolist(), (rewards[of] - p).tolist(), x)
        models = [theirs._imp.arm_to_model[k] for k in range(3)]
        for n in (0, 7, 99):
            mean, variance = ours.posteriors(int(segment[n]), vector[n])
            assert mean[of] == pytest.approx([p + x[n] @ m.beta for m in models], abs=1e-12)
            shape = [x[n] @ m.A_inv @ x[n] for m in models]
            assert variance[of] / variance[of, 0] == pytest.approx(_spread(x, arm, rewards[of], p) * shape / variance[of, 0], rel=1e-9)


def _spread(x: Array, arm: Array, r: Array, p: float) -> Array:
    """s^2 by loops: what the best line of each arm leaves, that line being held to the prior."""
    out = []
    for k in range(3):
        rows, left = [n for n in range(len(arm)) if arm[n] == k], 20.0 * p * (1 - p)
        precision = 20.0 * np.eye(x.shape[1]) + sum(np.outer(x[n], x[n]) for n in rows)
        line = np.linalg.solve(precision, sum((r[n] - p) * x[n] for n in rows))
        left += sum((r[n] - p - line @ x[n]) ** 2 for n in rows) + 20.0 * line @ line
        out.append(left / (20.0 + len(rows)))
    return np.array(out)


def test_where_nobody_differs_it_is_the_gaussian_arm() -> None:
    """Zeros for a vector, and of the two that are always 1 (everybody's part, the only segment's) the prior counts half for each."""
    _, _, arm, rewards = rounds(300, 2)
    none = np.zeros(300, np.int64)
    ours, theirs = LinearArms(1, 3, RATES, 20.0), empty(1, 3)
    ours.add(none, np.zeros((300, VECTOR)), arm, rewards, np.inf)
    theirs.add(none, arm, rewards, 1e18)
    mean, _ = ours.posteriors(0, np.zeros(VECTOR))
    n = np.bincount(arm, minlength=3)
    prior = RATES[:, None] / 2
    assert mean == pytest.approx((10 * prior + theirs.won[:, 0]) / (10 + n), abs=1e-12)


def test_all_at_once_is_one_by_one_and_older_rounds_fade() -> None:
    segment, vector, arm, rewards = rounds(60, 3)
    whole, singly = (LinearArms(2, 3, RATES, 20.0) for _ in range(2))
    whole.add(segment, vector, arm, rewards, 50.0)
    for n in range(60):
        singly.add(segment[[n]], vector[[n]], arm[[n]], rewards[:, [n]], 50.0)
    for name, array in whole.arrays().items():
        assert singly.arrays()[name] == pytest.approx(array, rel=1e-12), name
    assert whole.gram[:, 0, 0].sum() == pytest.approx(sum((1 - 1 / 50) ** n for n in range(60)))


def taught(seed: int = 4, n: int = 1_500, settings: BanditSettings = LINEAR, policy: Policy | None = None) -> Policy:
    policy = policy or Policy(NAMES, 2, settings, Adwin)
    segment, vector, arm, rewards = rounds(n, seed)
    for at in range(0, n, 100):
        part = slice(at, at + 100)
        policy.learn(segment[part], arm[part], rewards[0, part], rewards[1, part], vector[part].tolist())
    return policy


@pytest.mark.parametrize("settings", [LINEAR, BanditSettings(arms="linear", revenue_weight=0.5)])
def test_chances_are_those_of_posterior_samples(settings: BanditSettings) -> None:
    policy, who = taught(settings=settings), vectors(1, np.random.default_rng(5))[0]
    mean, variance = policy.posteriors(1, who.tolist())
    weight = [[1.0], [settings.revenue_weight]]
    drawn = np.random.default_rng(6).normal((weight * mean).sum(0), np.sqrt((np.square(weight) * variance).sum(0)), (400_000, 3))
    wanted = quadrature.with_exploration(np.bincount(drawn.argmax(1), minlength=3) / 400_000, settings.explore)
    chances = policy.probabilities(1, who.tolist())
    assert chances.sum() == pytest.approx(1, abs=1e-12)
    assert chances == pytest.approx(wanted, abs=0.004)
    sampled = np.random.default_rng(7).choice(3, 200_000, p=chances)
    assert stats.chisquare(np.bincount(sampled, minlength=3), 200_000 * chances).pvalue > 0.001


def test_users_who_differ_get_what_they_like_and_of_whom_nothing_is_known_their_segment_tells() -> None:
    policy, one = taught(n=20_000), np.zeros(VECTOR)
    one[0] = 1.0
    assert policy.probabilities(0, one.tolist())[1] > 0.9 > 0.1 > policy.probabilities(0, (-one).tolist())[1]
    assert policy.probabilities(0).tolist() == policy.probabilities(0, [1.0]).tolist()  # nor of a vector of another length
    gaussian = taught(n=20_000, settings=BanditSettings(arms="gaussian"))
    assert policy.probabilities(0).tolist() == gaussian.probabilities(0).tolist()


def test_after_a_restart_and_in_a_copy_chances_are_those_of_a_twin_and_arms_keep_what_they_learned() -> None:
    whole, restored, copy = taught(), Policy(NAMES, 2, LINEAR, Adwin), Policy(NAMES, 2, LINEAR, Adwin)
    restored.load(whole.checkpoint(), whole.learned())
    copy.load(whole.arrays(), whole.learned())
    for n, who in enumerate(vectors(20, np.random.default_rng(8)).tolist()):
        wanted = whole.probabilities(n % 2, who).tolist()
        assert restored.probabilities(n % 2, who).tolist() == copy.probabilities(n % 2, who).tolist() == wanted
    taught(9, 500, policy=whole)
    taught(9, 500, policy=restored)
    for name, array in whole.checkpoint().items():
        assert restored.checkpoint()[name].tolist() == array.tolist(), name
    other = Policy(("fixed", "new", "blend-0"), 2, LINEAR, Adwin)
    other.load(whole.checkpoint(), whole.learned())
    of, was = other.posteriors(1, who), whole.posteriors(1, who)
    assert np.stack(of)[:, :, [0, 2]].tolist() == np.stack(was)[:, :, [2, 0]].tolist()
    assert of[0][:, 1] == pytest.approx(RATES / 2, abs=1e-12)


def test_an_alarm_cuts_what_all_learned() -> None:
    policy, none = Policy(NAMES, 2, LINEAR, Adwin), np.zeros(2_000, np.int64)
    vector = np.eye(VECTOR)[none].tolist()
    policy.learn(none, none, np.zeros(2_000), np.zeros(2_000), vector)
    assert policy.linear is not None
    before = policy.linear.gram[0, 0, 0]
    assert policy.learn(none[:500], none[:500], np.ones(500), np.zeros(500), vector[:500]) == [0]
    assert policy.linear.gram[0, 0, 0] == pytest.approx(500 + 0.1 * before, rel=0.03)


def test_what_other_arms_learned_is_no_beginning() -> None:
    with pytest.raises(ValueError, match="arms was 'beta'"):
        Policy(NAMES, 2, LINEAR, Adwin).load(taught(settings=BanditSettings()).checkpoint(), taught(settings=BanditSettings()).learned())
