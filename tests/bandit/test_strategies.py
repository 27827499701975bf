"""Strategies against scipy's z-scores, hand computations, and the products of chances that an order drawn place by place has."""
from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandit.strategies import Strategy, order, scores, strategies, zscores
from tests import frequencies

figures = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12).filter(lambda row: np.std(row) > 1e-6 * max(map(abs, row)))
EXPLORE = Strategy("explore", "explore")


@given(figures, st.floats(0.1, 100), st.floats(-50, 50))
def test_zscores_are_scipys_and_know_no_unit(row: list[float], unit: float, zero: float) -> None:
    x = np.array(row)
    assert zscores(x) == pytest.approx(stats.zscore(x), abs=1e-9)
    assert zscores(unit * x + zero) == pytest.approx(zscores(x), abs=1e-4)
    assert abs(zscores(x).mean()) < 1e-9 and zscores(x).std() == pytest.approx(1.0)


def test_what_is_alike_has_no_zscores() -> None:
    assert zscores(np.full(5, 0.1)).tolist() == [0.0] * 5 and zscores(np.array([7.0])).tolist() == [0.0] and len(zscores(np.zeros(0))) == 0


def test_names_say_what_is_blended() -> None:
    assert [s.name for s in strategies((0.0, 0.25, 1.0))] == ["blend-0", "blend-0.25", "blend-1", "tail", "explore", "fixed"]
    assert [(s.kind, s.alpha) for s in strategies((0.25,))] == [("blend", 0.25), ("tail", 0.0), ("explore", 0.0), ("fixed", 0.0)]
    with pytest.raises(ValueError, match="no order of categories"):
        scores(Strategy("fixed", "fixed"), np.zeros(2), np.zeros(2), np.zeros(2))


@pytest.mark.parametrize(
    ("strategy", "score", "first"),
    [
        # by hand: z of preference (1, 2, 3) = (-1.2247, 0, 1.2247), of monetization (6, 0, 0) = (1.4142, -.7071, -.7071),
        # of mass (0, 1, 2) = (-1.2247, 0, 1.2247)
        (Strategy("blend-0", "blend", 0.0), (-1.2247, 0.0, 1.2247), [2, 1, 0]),
        (Strategy("blend-0.25", "blend", 0.25), (-0.5650, -0.1768, 0.7418), [2, 1, 0]),
        (Strategy("blend-0.75", "blend", 0.75), (0.7545, -0.5303, -0.2242), [0, 2, 1]),
        (Strategy("blend-1", "blend", 1.0), (1.4142, -0.7071, -0.7071), [0, 1, 2]),  # equal ones in the order given
        (Strategy("tail", "tail"), (0.0, 0.0, 0.0), [0, 1, 2]),  # what is liked is what is popular: nothing is left
    ],
)
def test_a_strategy_orders_by_its_sum(strategy: Strategy, score: tuple[float, ...], first: list[int]) -> None:
    found = scores(strategy, np.array([1.0, 2.0, 3.0]), np.array([6.0, 0.0, 0.0]), np.array([0.0, 1.0, 2.0]))
    assert found == pytest.approx(score, abs=1e-4)
    places, chances = order(strategy, found, np.full(3, 0.99))
    assert places.tolist() == first and chances.tolist() == [1.0] * 3
    assert order(strategy, found, np.zeros(2))[0].tolist() == first[:2]


def test_the_tail_rises_where_it_is_liked_as_much() -> None:
    found = scores(Strategy("tail", "tail"), np.array([2.0, 2.0, 1.0, 1.0]), np.array([9.0, 0, 0, 0]), np.array([5.0, 1.0, 5.0, 1.0]))
    assert np.argsort(-found, kind="stable").tolist() == [1, 0, 3, 2] and found == pytest.approx([0, 2, -2, 0])


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=4), st.integers(1, 4))
def test_chances_of_all_orders_that_can_be_drawn_sum_to_one(score: list[float], places: int) -> None:
    """Naive: the chance of an order is the product, place by place, of e^z over the sum of what is left."""
    places = min(places, len(score))
    total = 0.0
    for wanted in itertools.permutations(range(len(score)), places):
        left, given_, uniform = list(range(len(score))), [], []
        for arm in wanted:
            weights = [math.exp(score[k]) for k in left]
            at = left.index(arm)
            given_.append(weights[at] / sum(weights))
            uniform.append((sum(weights[:at]) + weights[at] / 2) / sum(weights))  # the middle of the arm's own interval
            left.remove(arm)
        drawn, chances = order(EXPLORE, np.array(score), np.array(uniform))
        assert drawn.tolist() == list(wanted) and chances == pytest.approx(given_, rel=1e-9)
        total += float(np.prod(chances))
    assert total == pytest.approx(1.0, abs=1e-9)


@frequencies.draws(4_000, 20_000)
def test_drawn_orders_come_as_often_as_their_chances_say(n: int) -> None:
    rng, score = np.random.default_rng(4), np.array([1.2, 0.0, -0.3, -0.9])
    seen: dict[tuple[int, ...], int] = {}
    said: dict[tuple[int, ...], float] = {}
    for uniform in rng.random((n, 2)):
        places, chances = order(EXPLORE, score, uniform)
        key = tuple(places.tolist())
        seen[key] = seen.get(key, 0) + 1
        assert said.setdefault(key, float(np.prod(chances))) == pytest.approx(float(np.prod(chances)), abs=1e-12)
    assert len(seen) == 12 and sum(said.values()) == pytest.approx(1.0, abs=1e-9)
    assert frequencies.chi_squared([seen[key] for key in said], [n * said[key] for key in said]) > 0.001


def test_nothing_to_order_is_no_error() -> None:
    for strategy in strategies((0.5,))[:3]:
        places, chances = order(strategy, scores(strategy, *(np.zeros(0),) * 3), np.zeros(3))
        assert places.tolist() == [] == chances.tolist()
