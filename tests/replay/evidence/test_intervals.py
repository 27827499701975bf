"""Figures with weights are the figures of repeated rows, and the bootstrap covers what it claims to."""
from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from online_model.gauc import gauc
from replay.evidence.intervals import Users, interval

Array = np.ndarray


def rows(n: int = 400, users: int = 23, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.integers(users, size=n).astype(np.uint64) + 7, np.round(rng.normal(size=n), 1), (rng.random(n) < 0.3).astype(float)


def test_weighted_figures_are_those_of_the_rows_repeated_so_often() -> None:
    keys, scores, labels = rows()
    p = 1 / (1 + np.exp(-scores))
    users = Users(keys)
    weights = np.random.default_rng(1).integers(0, 4, users.n).astype(float)
    often = weights[users.of_row].astype(int)
    again = np.repeat(np.arange(len(keys)), often)
    y, s, q = labels[again], scores[again], p[again]
    assert users.auc(scores, labels)(weights) == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    base = y.mean()
    entropy = -(base * np.log(base) + (1 - base) * np.log(1 - base))
    assert users.ne(p, labels)(weights) == pytest.approx(log_loss(y, q) / entropy, rel=1e-9)
    assert users.copc(p, labels)(weights) == pytest.approx(y.sum() / q.sum(), rel=1e-12)
    assert users.mean(scores)(weights) == pytest.approx(s.mean(), rel=1e-12)
    # a user drawn twice is two users, each with its own rows
    copy = np.concatenate([np.arange(n) for n in often]) if len(often) else np.zeros(0)
    apart = keys[again] + np.uint64(1000) * copy.astype(np.uint64)
    assert users.gauc(scores, labels)(weights) == pytest.approx(gauc(apart, s, y)[0], abs=1e-12)


def test_figures_of_rows_that_stand_for_several_are_those_of_all_of_them_in_every_resample() -> None:
    keys, scores, labels = rows()
    importance_weight = np.random.default_rng(2).integers(1, 4, len(keys)).astype(float)
    p, again = 1 / (1 + np.exp(-scores)), np.repeat(np.arange(len(keys)), importance_weight.astype(int))
    kept, whole = Users(keys, importance_weight), Users(keys[again])
    found, truth = (
        users.read([users.auc(s, y), users.gauc(s, y), users.ne(q, y), users.copc(q, y), users.mean(s)], 30)
        for users, s, y, q in ((kept, scores, labels, p), (whole, scores[again], labels[again], p[again]))
    )
    np.testing.assert_allclose(found, truth, rtol=1e-12)
    assert found[0, 0] == pytest.approx(roc_auc_score(labels, scores, sample_weight=importance_weight), abs=1e-12)
    bare = Users(keys)
    assert np.abs(found[:, :1] - bare.read([bare.auc(scores, labels)], 30)).max() > 0.001  # it does make a difference


def test_top_share_of_rows_that_stand_for_several_by_hand() -> None:
    # by score they stand for 1, 3, 1 and 1: a sixth is reached with the first, four tenths with the second, half too
    keys, scores, labels = np.full(4, 7), np.array([3.0, 4.0, 1.0, 2.0]), np.array([1.0, 0.0, 1.0, 1.0])
    users = Users(keys, np.array([3.0, 1.0, 1.0, 1.0]))
    assert [users.top(scores, labels, share)(np.ones(1)) for share in (1 / 6, 0.4, 0.5, 1.0)] == pytest.approx([0, 3 / 4, 3 / 4, 5 / 6])


def test_top_share_by_hand() -> None:
    # user 1 has four rows: half of them, the two highest, hold one positive; user 2 has one row, a positive
    keys, scores, labels = np.array([1, 1, 1, 1, 2]), np.array([4.0, 1.0, 3.0, 2.0, 0.0]), np.array([0.0, 1.0, 1.0, 1.0, 1.0])
    users = Users(keys)
    assert users.top(scores, labels, 0.5)(np.ones(2)) == pytest.approx(2 / 3)
    assert users.top(scores, labels, 0.5)(np.array([1.0, 3.0])) == pytest.approx(4 / 5)


def test_undefined_figures_are_nan() -> None:
    users = Users(np.array([1, 2]))
    nothing = np.zeros(2)
    for figure in (users.auc(nothing, nothing), users.gauc(nothing, nothing), users.ne(nothing + 0.5, nothing)):
        assert np.isnan(figure(np.ones(2)))
    assert np.isnan(interval(np.full((5, 1), np.nan)[:, 0]).low)


def test_one_user_alone_has_a_figure_but_no_interval() -> None:
    _, scores, labels = rows()
    users = Users(np.full(len(scores), 7))
    found = interval(users.read([users.auc(scores, labels)], 20)[:, 0])
    assert 0 < found.value < 1 and np.isnan(found.low) and np.isnan(found.high)


def test_draws_are_paired_and_seeded() -> None:
    keys, scores, labels = rows()
    users = Users(keys)
    figure = users.auc(scores, labels)
    read = users.read([figure, figure, users.auc(2 * scores + 1, labels)], 50)
    assert np.all(read[:, 0] == read[:, 1]) and np.all(read[:, 0] == read[:, 2])  # an AUC knows ranks only
    assert np.ptp(read[:, 0]) > 0
    assert (users.read([figure], 50) == read[:, :1]).all() and (users.read([figure], 50, seed=2) != read[:, :1]).any()
    same = interval(read[:, 0] - read[:, 2])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_interval_covers_the_truth_as_often_as_it_says_where_users_differ() -> None:
    """Each user has a rate of its own (sd .2 around .5), seen in 20 rows; the mean over rows: a bootstrap of rows would cover 50 %."""
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rate = rng.beta(2.6, 2.6, 60)  # mean .5, variance .25 / 6.2 = .0403
        keys = np.repeat(np.arange(60), 20)
        labels = (rng.random(1_200) < rate[keys]).astype(float)
        users = Users(keys)
        found = interval(users.read([users.copc(np.full(1_200, 0.5), labels)], 200, seed)[:, 0])
        covered += found.low <= 1 <= found.high
    assert 0.90 <= covered / 200 <= 0.985  # .95 less what percentiles of 60 users lose; 3 standard errors of .0154
