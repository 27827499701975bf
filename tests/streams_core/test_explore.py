"""The formula of the propensities against enumeration of everything that chance can do."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from streams.core.explore import arrange, propensities


def enumerated(items: int, ranked: int, slots: int, share: float) -> np.ndarray:
    """P(item i in slot j) over every choice of exploring slots and every draw for them; the first `ranked` items are ranked."""
    chance = np.zeros((items, slots))
    for explores in itertools.product([False, True], repeat=slots):
        draws = list(itertools.permutations(range(items), sum(explores)))
        for drawn in draws:
            for slot, item in enumerate(arrange(range(ranked), drawn, explores)):
                chance[item, slot] += share ** sum(explores) * (1 - share) ** (slots - sum(explores)) / len(draws)
    return chance


@pytest.mark.parametrize(
    ("items", "ranked", "slots", "share"), [(5, 3, 3, 0.3), (6, 4, 4, 0.02), (4, 4, 4, 0.5), (7, 7, 2, 0.1), (4, 3, 3, 1.0)]
)
def test_propensities_are_exact(items: int, ranked: int, slots: int, share: float) -> None:
    ranks = [i if i < ranked else None for i in range(items)]
    ours = np.array([[propensities([r] * slots, items, share)[j] for j in range(slots)] for r in ranks])
    assert ours == pytest.approx(enumerated(items, ranked, slots, share), abs=1e-12)
    assert ours.sum(axis=0) == pytest.approx(np.ones(slots), abs=1e-12)


def test_long_lists_over_many_items_add_up() -> None:
    items, slots = 100_000, 100
    ours = np.array([propensities([r] * slots, items, 0.05) for r in range(slots)])
    assert ours.sum(axis=0) + (items - slots) * 0.05 / items == pytest.approx(np.ones(slots), rel=1e-9)
    assert propensities([slots + 5], items, 0.05) == [0.05 / items]  # ranked, but further down than the list is long


def test_without_exploring_nothing_is_left_to_chance() -> None:
    assert propensities([0, 1, 2], 3, 0.0) == [1.0, 1.0, 1.0]
    assert propensities([], 0, 0.1) == []
    assert arrange([1, 2, 3], [], [False, False]) == [1, 2]
    assert arrange([1, 2, 3], [9, 1], [False, True, True]) == [2, 9, 1]
