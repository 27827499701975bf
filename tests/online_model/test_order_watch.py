"""Whether everybody gets the same order, by orders of known agreement."""
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from online_model.order_watch import COMPARED, LEAST, OrderWatch, agreement


def test_agreement_is_kendalls_tau() -> None:
    rng = np.random.default_rng(1)
    for n in (2, 10, 40):
        places = rng.permutation(3 * n)[:n].tolist()
        assert agreement(places) == pytest.approx(stats.kendalltau(range(n), places).statistic)


def watched(orders: list[tuple[int, list[int]]]) -> OrderWatch:
    watch = OrderWatch()
    for user, order in orders:
        watch.observe(user, order)
    return watch


def test_one_order_for_all_is_noticed_and_orders_of_their_own_are_not() -> None:
    rng = np.random.default_rng(2)
    one, n = list(range(40)), COMPARED + 1
    same = watched([(user, one) for user in range(1, n + 1)])
    assert same.same_for_all and same.agreement == 1.0
    part = watched([(user, [k for k in one if k % 7 != user % 7]) for user in range(1, n + 1)])  # each without what they had lately
    assert part.same_for_all and part.agreement == 1.0
    own = watched([(user, rng.permutation(40).tolist()) for user in range(1, n + 1)])
    assert not own.same_for_all and abs(own.agreement or 1.0) < 0.1
    for user in range(1, 4):
        same.observe(100 + user, one[::-1] if user % 2 else one)
    assert not same.same_for_all  # two of 50 the other way round


def test_what_can_not_be_compared_says_nothing() -> None:
    one, n = list(range(40)), 3 * COMPARED
    assert watched([(7, one)] * n).agreement is None  # of one user
    assert watched([(user, one[: LEAST - 1]) for user in range(1, n)]).agreement is None  # too few in common
    assert watched([(user, [100 * user + k for k in one]) for user in range(1, n)]).agreement is None
    assert watched([(user, one) for user in range(1, COMPARED + 1)]).agreement is None  # too early
