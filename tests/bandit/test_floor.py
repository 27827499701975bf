"""The price of a floor of revenue, by hand."""
from __future__ import annotations

import numpy as np
import pytest

from bandit.floor import Floor
from bandit.settings import BanditSettings

SETTINGS = BanditSettings(revenue_floor=0.2, floor_rounds=2, floor_step=0.5, floor_memory_rounds=2.0)


def test_the_weight_follows_the_fading_mean_by_hand() -> None:
    # Memory 2: kept .5. After .1, .3: total .05 + .3, rounds .5 + 1, mean .2333: above the floor, the weight stays at 0.
    # After .0, .0 as well: total .35 / 4, rounds 1.5 / 4 + 1.5 = 1.875, mean .046667: missing 1 - .2333 = .76667 of the floor.
    floor = Floor(SETTINGS)
    assert not floor.update(np.array([0.1, 0.3]))
    assert floor.update(np.zeros(2))
    assert floor.weight == pytest.approx(0.5 * (1 - 0.0875 / 1.875 / 0.2))


def test_a_batch_is_its_rounds_one_by_one() -> None:
    revenue = np.random.default_rng(1).random(101) * 0.3
    whole, single = Floor(SETTINGS), Floor(SETTINGS)
    whole.update(revenue)
    for one in np.split(revenue, 101):
        single.update(one)
    assert whole.array() == pytest.approx(single.array(), abs=1e-12)


def test_restored_with_a_shorter_step_it_goes_on() -> None:
    """Rounds that waited for a step of a hundred are more than a step of two has."""
    before = Floor(BanditSettings(revenue_floor=0.2, floor_rounds=100))
    before.update(np.full(60, 0.1))
    after = Floor(SETTINGS)
    after.load(before.array())
    assert after.update(np.full(3, 0.1)) and after.waiting == 0
    assert after.rounds == pytest.approx(((before.rounds / 2 + 1) / 2 + 1) / 2 + 1)


def test_a_fixed_weight_never_moves() -> None:
    floor = Floor(BanditSettings(revenue_weight=0.7))
    assert not floor.update(np.zeros(10_000))
    assert floor.weight == 0.7
