"""The model of the reward never saw the rows it is used on."""
from __future__ import annotations

import numpy as np
import pytest

from bandit import reward_model

ARM, PLACE = np.array([0, 0, 1, 1, 1, 2]), np.zeros(6, int)
R = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 0.0])


def test_means_are_drawn_to_the_overall_one() -> None:
    found = reward_model.means(reward_model.LoggedRewards(ARM, PLACE, R, 3))
    assert found == pytest.approx(np.array([[51 / 102, 52 / 103, 50 / 101]]))


def test_a_place_lifts_all_its_arms_alike() -> None:
    arm, place = np.tile([0, 1], 200), np.repeat([0, 1], 200)
    r = np.repeat([1.0, 0.0], 200)
    found = reward_model.means(reward_model.LoggedRewards(arm, place, r, 2, 2))
    assert found[0] / found[1] == pytest.approx(np.full(2, (200 + 50) / 50))  # (Σr + 100·½)/(n + 100) of each place
    assert found[0] == pytest.approx(np.full(2, 0.5 * (250 / 300) / 0.5))


def test_a_cell_is_its_own_mean_drawn_to_that_product() -> None:
    rng = np.random.default_rng(6)
    arm, place, r = rng.integers(3, size=900), rng.integers(2, size=900), rng.random(900)
    product, found = (reward_model.means(reward_model.LoggedRewards(arm, place, r, 3, 2), cells) for cells in (False, True))
    for at in range(2):
        for k in range(3):
            mine = [x for x, of, where in zip(r, arm, place, strict=True) if (of, where) == (k, at)]
            assert found[at, k] == pytest.approx((sum(mine) + 100 * product[at, k]) / (len(mine) + 100))


@pytest.mark.parametrize("by_time", [False, True])
def test_a_reward_changes_no_prediction_of_its_own_fold(by_time: bool) -> None:
    rng = np.random.default_rng(5)
    n = 400
    arm, cluster, r = rng.integers(4, size=n), np.repeat(np.arange(n // 2), 2), rng.random(n)
    fold = reward_model.time_blocks(cluster, np.arange(n)) if by_time else reward_model.random_folds(cluster, 1)
    assert (fold[::2] == fold[1::2]).all()
    before = reward_model.fitted(reward_model.LoggedRewards(arm, np.zeros(n, int), r, 4), fold, by_time)
    for each in range(int(fold.max()) + 1):
        changed = np.where(fold == each, 1 - r, r)
        assert (
            reward_model.fitted(reward_model.LoggedRewards(arm, np.zeros(n, int), changed, 4), fold, by_time)[each] == before[each]
        ).all()
    later = np.where(fold > 3, 1 - r, r)
    if by_time:
        assert (reward_model.fitted(reward_model.LoggedRewards(arm, np.zeros(n, int), later, 4), fold, by_time)[:5] == before[:5]).all()


def test_blocks_follow_time_not_the_order_of_rows() -> None:
    assert reward_model.time_blocks(np.arange(20), np.arange(20)[::-1]).tolist() == list(range(20))[::-1]
