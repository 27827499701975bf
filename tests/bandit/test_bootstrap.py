"""Requests are drawn, ratios formed anew."""
from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bandit import bootstrap
from bandit import estimators as e
from bandit.estimators import Ratios


def interval(ratios: Ratios) -> bootstrap.Interval:
    rows = np.arange(len(ratios[0][0]))
    return bootstrap.interval(bootstrap.estimates([ratios], rows, 20_000)[:, 0], ratios, rows)


def test_resampled_sums_are_those_of_a_loop_over_drawn_requests() -> None:
    rng = np.random.default_rng(1)
    cluster, columns = np.array([0, 0, 1, 2, 2, 2]), rng.random((6, 2))
    found = bootstrap.resampled(columns, cluster, 50, 7)
    assert found[0] == pytest.approx(columns.sum(0))
    drawn = np.random.default_rng(7).integers(3, size=(50, 3))
    for row, requests in zip(found[1:], drawn, strict=True):
        assert row == pytest.approx(sum(columns[cluster == u].sum(0) for u in requests))


def test_a_ratio_has_its_own_denominator_in_each_resample() -> None:
    w, r = np.array([1.0, 9.0]), np.array([1.0, 0.0])
    read = bootstrap.estimates([e.snips(w, r)], np.arange(2), 200, 1)[:, 0]
    assert set(np.round(read, 12)) == {0.0, 0.1, 1.0}  # with the full sample's Σw: 0, 0.1, 0.2


def test_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    r = np.random.default_rng(2).random(4_000)
    found = interval(e.ips(np.ones(4_000), r))
    half = 1.96 * r.std() / 4_000**0.5
    assert found.value == pytest.approx(r.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.08)
    assert bootstrap.half_width(e.ips(np.ones(4_000), r), np.arange(4_000)) == pytest.approx(half, rel=1e-3)


@pytest.mark.parametrize("n", [20, 200])
def test_interval_of_a_skewed_mean_is_that_of_scipy(n: int) -> None:
    r = np.random.default_rng(n).exponential(size=n) ** 2
    theirs = stats.bootstrap((r,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(5)).confidence_interval
    found = interval(e.ips(np.ones(n), r))
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=0.03)
    assert found.high - found.value > 1.2 * (found.value - found.low)


def test_a_difference_is_paired_and_what_never_differs_has_no_width() -> None:
    rng = np.random.default_rng(3)
    w, r = rng.exponential(size=500), (rng.random(500) < 0.3).astype(float)
    more = bootstrap.difference(e.ips(w, r), e.ips(np.ones(500), r))
    assert e.value(more) == pytest.approx(((w - 1) * r).mean())
    assert interval(more).high - interval(more).low < interval(e.ips(w, r)).high - interval(e.ips(w, r)).low
    same = interval(bootstrap.difference(e.ips(w, r), e.ips(w, r)))
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_what_is_undefined_has_no_interval() -> None:
    found = interval(e.snips(np.zeros(5), np.ones(5)))
    assert np.isnan([found.value, found.low, found.high]).all()


def test_rows_of_one_request_count_as_one() -> None:
    r, cluster = np.repeat(np.random.default_rng(2).random(400), 10), np.repeat(np.arange(400), 10)
    by_request, by_row = (bootstrap.half_width(e.ips(np.ones(4_000), r), c) for c in (cluster, np.arange(4_000)))
    assert by_request == pytest.approx(10**0.5 * by_row, rel=1e-9)


def test_half_width_of_a_ratio_is_the_spread_of_its_resamples() -> None:
    rng = np.random.default_rng(4)
    w, r = rng.exponential(size=3_000), (rng.random(3_000) < 0.3).astype(float)
    q, q_policy = rng.random(3_000), rng.random(3_000)
    for ratios in (e.snips(w, r), e.sndr(w, r, q, q_policy)):
        read = bootstrap.estimates([ratios], np.arange(3_000))[1:, 0]
        assert bootstrap.half_width(ratios, np.arange(3_000)) == pytest.approx(1.96 * read.std(), rel=0.06)


def test_same_seed_same_draws_and_another_seed_others() -> None:
    of = [e.ips(np.ones(9), np.arange(9.0))]
    one, two, three = (bootstrap.estimates(of, np.arange(9), 20, seed) for seed in (1, 1, 2))
    assert (one == two).all() and (one != three).any()
