"""The formula of the propensities against enumeration of everything that chance can do."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from streams.core.serving.explore import arrange, conditional_propensities, propensities

WORLDS = [(5, 3, 3, 0.3), (6, 4, 4, 0.02), (4, 4, 4, 0.5), (7, 7, 2, 0.1), (4, 3, 3, 1.0), (6, 5, 5, 0.4), (5, 5, 5, 1.0)]


def everything(items: int, ranked: int, slots: int, share: float) -> dict[tuple[int, ...], float]:
    """The chance of every list, over every choice of exploring slots and every draw for them."""
    chance: dict[tuple[int, ...], float] = {}
    for explores in itertools.product([False, True], repeat=slots):
        draws = list(itertools.permutations(range(items), sum(explores)))
        for drawn in draws:
            shown = tuple(arrange(range(ranked), drawn, explores))
            p = share ** sum(explores) * (1 - share) ** (slots - sum(explores)) / len(draws)
            chance[shown] = chance.get(shown, 0.0) + p
    return chance


def enumerated(items: int, ranked: int, slots: int, share: float) -> np.ndarray:
    """P(item i in slot j); the first `ranked` items are ranked."""
    chance = np.zeros((items, slots))
    for shown, p in everything(items, ranked, slots, share).items():
        chance[shown, range(slots)] += p
    return chance


@pytest.mark.parametrize(("items", "ranked", "slots", "share"), WORLDS)
def test_propensities_are_exact(items: int, ranked: int, slots: int, share: float) -> None:
    ranks = [i if i < ranked else None for i in range(items)]
    ours = np.array([[propensities([r] * slots, items, share)[j] for j in range(slots)] for r in ranks])
    assert ours == pytest.approx(enumerated(items, ranked, slots, share), abs=1e-12)
    assert ours.sum(axis=0) == pytest.approx(np.ones(slots), abs=1e-12)


@pytest.mark.parametrize(("items", "ranked", "slots", "share"), WORLDS)
def test_chances_given_the_slots_above_are_exact(items: int, ranked: int, slots: int, share: float) -> None:
    lists = everything(items, ranked, slots, share)
    for shown, p in lists.items():
        if p == 0.0:
            continue
        above = [sum(q for other, q in lists.items() if other[:j] == shown[:j]) for j in range(slots + 1)]
        ours = conditional_propensities([i if i < ranked else None for i in shown], items, share)
        assert ours == pytest.approx([below / whole for whole, below in itertools.pairwise(above)], rel=1e-9)


@pytest.mark.parametrize(("items", "slots", "share"), [(100_000, 100, 0.05), (60, 50, 0.02), (40, 40, 0.2), (1_000_000, 40, 0.02)])
def test_given_the_slots_above_of_a_long_list_the_chances_of_all_that_may_stand_below_add_up(items: int, slots: int, share: float) -> None:
    rng = np.random.default_rng(3)
    explores = rng.random(slots) < 0.3
    shown = arrange(range(slots), rng.permutation(items)[: explores.sum()].tolist(), explores.tolist())
    for j in (0, 1, slots // 2, slots - 1):
        left = [item for item in range(slots) if item not in shown[:j]]  # the others are alike
        others = items - slots - sum(item >= slots for item in shown[:j])
        rest: list[int | None] = [None] * (slots - j - 1)
        above: list[int | None] = [item if item < slots else None for item in shown[:j]]
        chances = [conditional_propensities([*above, item, *rest], items, share)[j] for item in [*left, None]]
        assert sum(chances[:-1]) + others * chances[-1] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize(("items", "slots", "share"), [(200, 200, 0.2), (200, 200, 0.5), (400, 200, 1.0), (10_000_000, 200, 0.001)])
def test_chances_given_the_slots_above_stay_numbers(items: int, slots: int, share: float) -> None:
    """The longest lists that settings allow."""
    rng = np.random.default_rng(5)
    explores = rng.random(slots) < max(share, 0.1)
    shown = arrange(range(slots), rng.permutation(items)[: explores.sum()].tolist(), explores.tolist())
    ours = conditional_propensities([item if item < slots else None for item in shown], items, share)
    assert np.isfinite(ours).all() and min(ours) > 0 and max(ours) <= 1
    if share == 1.0:
        assert ours == pytest.approx(1 / (items - np.arange(slots)))


def test_long_lists_over_many_items_add_up() -> None:
    items, slots = 100_000, 100
    ours = np.array([propensities([r] * slots, items, 0.05) for r in range(slots)])
    assert ours.sum(axis=0) + (items - slots) * 0.05 / items == pytest.approx(np.ones(slots), rel=1e-9)
    assert propensities([slots + 5], items, 0.05) == [0.05 / items]  # ranked, but further down than the list is long


def test_without_exploring_nothing_is_left_to_chance() -> None:
    for formula in (propensities, conditional_propensities):
        assert formula([0, 1, 2], 3, 0.0) == [1.0, 1.0, 1.0]
        assert formula([], 0, 0.1) == []
    assert arrange([1, 2, 3], [], [False, False]) == [1, 2]
    assert arrange([1, 2, 3], [9, 1], [False, True, True]) == [2, 9, 1]
