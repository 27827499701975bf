"""The carousel world: regret by the truth, looks from the top, and what the paper's own policies come to."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.simulator.carousel import CarouselSettings, CarouselWorld, CascadeThompson, UniformCarousel, Visit, run, tenths

SMALL = CarouselSettings(items=60, places=5, seen_at_once=2)
WORLD = CarouselWorld(SMALL, 1)


class Fixed:
    """The same slate for all, and what was learned of it."""

    def __init__(self, items: list[int]) -> None:
        self.items, self.visits = items, list[Visit]()

    def slate(self, number: int, ts: int, listener: int) -> list[int]:
        return self.items

    def learn(self, visit: Visit) -> None:
        self.visits.append(visit)


@given(st.permutations(range(60)), st.integers(0, 8))
@settings(max_examples=50)
def test_no_slate_is_better_than_the_truths_own_order(order: list[int], listener: int) -> None:
    best = np.argsort(-WORLD.chances[listener])[: SMALL.places].tolist()
    assert WORLD.regret(listener, best) == pytest.approx(0.0, abs=1e-12)
    assert WORLD.regret(listener, order[: SMALL.places]) >= -1e-12


def test_first_places_are_always_looked_at_and_later_ones_by_the_chance_to_swipe() -> None:
    fixed = Fixed([3, 1, 4, 15, 9])
    regret = run(WORLD, fixed, 4_000, 1)
    looked = np.array([len(visit.streamed) for visit in fixed.visits])
    for place, chance in enumerate((1.0, 1.0, 0.6, 0.36, 0.216)):
        assert (looked > place).mean() == pytest.approx(chance, abs=0.03)
        assert WORLD.looks[place] == pytest.approx(chance)
    mine = [visit for visit in fixed.visits if visit.listener == 2]
    streams = np.mean([sum(visit.streamed) for visit in mine])
    expected = sum(p * look for p, look in zip(WORLD.chances[2, fixed.items], WORLD.looks, strict=True))
    assert streams == pytest.approx(expected, abs=4 * np.sqrt(expected / len(mine)))
    assert regret[2] == pytest.approx(np.sort(WORLD.chances[2])[::-1][:5] @ WORLD.looks - expected)


def test_a_belief_moves_by_what_was_looked_at_alone() -> None:
    for per_listener, row in ((False, 0), (True, 7)):
        policy = CascadeThompson(SMALL, 1, per_listener)
        policy.learn(Visit(0, 0, 7, [5, 6, 7, 8, 9], [True, False]))
        assert (policy.streams[row, 5], policy.passes[row, 5]) == (2.0, 99.0)
        assert (policy.streams[row, 6], policy.passes[row, 6]) == (1.0, 100.0)
        assert policy.streams.sum() + policy.passes.sum() == policy.streams.size * 100 + 2


def test_thompson_sampling_learns_and_uniform_slates_do_not() -> None:
    uniform, thompson = (tenths(run(WORLD, of, 4_000, 1)) for of in (UniformCarousel(SMALL, 1), CascadeThompson(SMALL, 1, False)))
    assert uniform[-1] == pytest.approx(uniform[0], rel=0.1)
    assert thompson[-1] < 0.5 * thompson[0] < uniform[0]


def test_more_places_than_items_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="seen_at_once <= places <= items"):
        CarouselSettings(items=10)
