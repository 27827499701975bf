from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.segments import SEGMENTS
from bandit.settings import BanditSettings
from online_model.features import Reward
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.status import histogram, quantile, rounded, surfaces


def test_milliseconds_are_rounded_up_in_steps_that_grow_with_them() -> None:
    assert [rounded(ms) for ms in (-3, 0, 7, 99, 100, 101, 996, 1_001, 12_001)] == [0, 0, 7, 99, 100, 105, 1_000, 1_050, 12_500]


@given(st.integers(1, 10_000_000))
def test_rounding_is_up_within_5_percent_and_once(ms: int) -> None:
    assert ms <= rounded(ms) <= ms * 1.05
    assert rounded(rounded(ms)) == rounded(ms)


@given(st.lists(st.integers(0, 99), min_size=1), st.floats(0.01, 1.0), st.integers(0, 20))
def test_quantile_is_that_of_the_sorted_values_with_the_missing_ones_at_infinity(values: list[int], share: float, missing: int) -> None:
    ordered = [*sorted(values), *[math.inf] * missing]
    wanted = ordered[math.ceil(share * len(ordered)) - 1]
    assert quantile(histogram(values), share, missing) == (None if wanted == math.inf else wanted)


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None


def test_status_of_a_strategy_is_the_mean_of_its_segments_weighted_by_their_rounds() -> None:
    """Two segments, 3 and 1 rounds; held against loops over segments and arms."""
    arms = ("tail", "fixed")
    reward_queue = RewardQueue(StrategyBandit({"page": arms, "list": arms}, BanditSettings(revenue_floor=0.4, revenue_most=2.0)))
    rounds = [(0, "tail", 1.0), (0, "tail", 0.5), (0, "fixed", 0.0), (5, "fixed", 1.0)]
    for n, (segment, strategy, experience) in enumerate(rounds):
        reward_queue.put(
            Reward(
                id=n,
                ts=n,
                shown_ms=n,
                user=n,
                surface="page",
                strategy=strategy,
                arms=list(arms),
                chances=[0.5, 0.5],
                segment=segment,
                activity=0.0,
                domain=0,
                experience=experience,
                revenue=0.5,
                seen=True,
            )  # fmt: skip
        )
    reward_queue.learn()
    by_surface, policy = surfaces(reward_queue), reward_queue.strategy_bandit.policies["page"]
    assert by_surface["page"].revenue_weight == policy.floor.weight
    for k, name in enumerate(arms):
        one = by_surface["page"].strategies[name]
        assert one.rounds == pytest.approx(2.0, rel=1e-4)  # all but what the far cap fades
        weighed = [(segment, sum(1 for s, *_ in rounds if s == segment) / len(rounds)) for segment in (0, 5)]
        assert one.propensity == pytest.approx(sum(w * policy.probabilities(s)[k] for s, w in weighed), rel=1e-4)
        assert one.experience == pytest.approx(sum(w * policy.posteriors(s)[0][0, k] for s, w in weighed), rel=1e-4)
        assert one.revenue == pytest.approx(2.0 * sum(w * policy.posteriors(s)[0][1, k] for s, w in weighed), rel=1e-4)
    # every arm's prior is .05 of experience: q; values of `tail`: .05 + 2 (1 - .05), .05 + 2 (.5 - .05), .05, .05
    assert by_surface["page"].strategies["tail"].value == pytest.approx((1.95 + 0.95 + 0.05 + 0.05) / 4)
    assert by_surface["page"].strategies["tail"].ess == pytest.approx(2.0)
    unseen = by_surface["list"].strategies["tail"]
    assert (unseen.rounds, unseen.propensity, unseen.value, unseen.ess) == (0.0, pytest.approx(0.5), None, 0.0)
    assert unseen.experience == pytest.approx(0.05) and SEGMENTS > 5
