"""Places under rules: none is broken, and lists come as often as the propensities given above say."""
from __future__ import annotations

from collections import Counter
from functools import cache
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bandit.best_of_many import BestOfMany
from streams.core.shaping.placement import DrawPool, Exploring, Placement, PlacementRules, between_pins, place_by_rules


def pool_of(artists: dict[int, int], pins: dict[int, int]) -> DrawPool:
    """Items by key with their artists; odd ones beyond 100 are there, but not eligible."""
    free = [key for key in artists if key not in pins.values()]
    return DrawPool(
        [*free, 101, 103], len(free), lambda key: key in free, cache(lambda of: [key for key in free if artists[key] == of]),
        lambda key: artists.get(key, 0),
    )  # fmt: skip


def placed(artists: dict[int, int], rules: PlacementRules, ranked: list[int], exploring: Exploring | float, seed: int) -> Placement:
    of, how = (
        [key for key in ranked if key not in rules.pins.values()],
        exploring if isinstance(exploring, Exploring) else Exploring(exploring),
    )
    return place_by_rules(of, dict.fromkeys(of, "popular"), rules, pool_of(artists, dict(rules.pins)), how, np.random.default_rng(seed))


def by_belief(share: float, floor: float) -> Exploring:
    """Of 1, 2, 3: the last is the best, the first is hardly known."""
    return Exploring(share, BestOfMany([1, 2, 3], np.array([0.0, 0.1, 0.3]), np.array([0.5, 0.2, 0.1]), 3).among, floor)


@pytest.mark.parametrize("share", [0.4, 1.0, by_belief(0.7, 0.2)])
@pytest.mark.parametrize(
    "rules", [PlacementRules(3, {}, per_artist=1), PlacementRules(4, {}, spacing=2), PlacementRules(4, {1: 5}, per_artist=2, spacing=2)]
)
def test_lists_come_as_often_as_the_product_of_their_propensities_given_above(rules: PlacementRules, share: Exploring | float) -> None:
    artists = {1: 7, 2: 7, 3: 8, 4: 0, 5: 8, 6: 9}
    seen, chance = Counter[tuple[int, ...]](), dict[tuple[int, ...], float]()
    for seed in range(3_000):
        one = placed(artists, rules, [1, 2, 3], share, seed)  # 4 and 6 are in the pool, and not ranked
        seen[tuple(one.items)] += 1
        chance.setdefault(tuple(one.items), prod(one.conditional_propensities()))
        assert prod(one.conditional) == chance[tuple(one.items)]
        free = [p for place, p in enumerate(one.propensities) if place not in rules.pins]
        assert free[0] == one.conditional[0] and free[1:] == [None] * len(free[1:])  # known as long as all above was certain
    assert 0.97 < sum(chance.values()) <= 1 + 1e-9
    often = [items for items in seen if chance[items] * 3_000 >= 5]
    rest = 3_000 - sum(seen[items] for items in often)
    expected = [chance[items] * 3_000 for items in often]
    assert stats.chisquare([*(seen[i] for i in often), rest + 1e-9], [*expected, 3_000 - sum(expected) + 1e-9]).pvalue > 1e-3


@pytest.mark.parametrize(("share", "floor"), [(1.0, 0.1), (0.3, 0.5), (1.0, 0.0)])
def test_by_belief_all_lists_that_may_come_have_propensities_that_add_up_to_one(share: float, floor: float) -> None:
    """Enumerated: 4 of the pool is not ranked, so the floor alone reaches it."""
    exploring, lists = by_belief(share, floor), dict[tuple[int, ...], float]()
    for seed in range(600):
        one = placed(dict.fromkeys((1, 2, 3, 4), 0), PlacementRules(2, {}), [3, 2, 1], exploring, seed)
        lists[tuple(one.items)] = prod(one.conditional)
    assert sum(lists.values()) == pytest.approx(1.0, abs=2e-3 if floor else 1e-9)  # what is rare may not have come
    assert (4 in {items[0] for items in lists}) == (floor > 0)
    assert exploring.chances is not None
    first, alike = exploring.chances(lambda _: True), floor / 4
    for seed in range(20):
        one = placed(dict.fromkeys((1, 2, 3, 4), 0), PlacementRules(2, {}), [3, 2, 1], exploring, seed)
        key = one.items[0]
        expected = share * ((1 - floor) * first.get(key, 0.0) + alike) + (1 - share) * (key == 3)
        assert one.conditional[0] == pytest.approx(expected) and one.propensities == [one.conditional[0], None]


@given(
    st.dictionaries(st.integers(1, 12), st.integers(0, 3), min_size=1), st.integers(1, 8), st.none() | st.integers(1, 3), st.integers(1, 4),
    st.sampled_from([0.0, 0.5]), st.integers(0, 99), st.data(),
)  # fmt: skip
def test_no_rule_is_broken_and_a_list_ends_only_where_nothing_is_left_that_may_stand_there(
    artists: dict[int, int], places: int, per_artist: int | None, spacing: int, share: float, seed: int, data: st.DataObject
) -> None:
    pinned = data.draw(st.lists(st.sampled_from(sorted(artists)), max_size=2, unique=True))
    pins = dict(zip(data.draw(st.permutations(range(places))), pinned, strict=False))
    ranked = data.draw(st.lists(st.sampled_from(sorted(artists)), unique=True))
    one = placed(artists, PlacementRules(places, pins, per_artist, spacing), ranked, share, seed)
    assert len(set(one.items)) == len(one.items) <= places and set(pins.values()) <= set(one.items) <= set(artists)
    free = [n for n, key in enumerate(one.items) if key not in pins.values()]
    assert all(one.items[place] == key for place, key in pins.items() if place < len(one.items) and place <= max(free, default=-1))

    def fits(n: int, key: int, others: dict[int, int]) -> bool:
        of = artists[key]
        near = [artists[other] for m, other in others.items() if abs(m - n) < spacing]
        return not of or (of not in near and (per_artist is None or sum(artists[o] == of for o in others.values()) < per_artist))

    for n in free:
        others = {m: key for m, key in enumerate(one.items) if m < n and key not in pins.values()} | pins
        assert fits(n, one.items[n], others)
        if share == 0.0:  # the best that fits, and by chance only where none of the ranked does
            better = [key for key in ranked if key not in others.values() and fits(n, key, others)]
            assert not better or one.items[n] == better[0]
    end = max(free, default=-1) + 1
    while end in pins:
        end += 1
    if end < places:
        others = {n: one.items[n] for n in free} | pins
        assert not [key for key in artists if key not in others.values() and fits(end, key, others)]
    if share == 0.0 and set(one.items) <= {*ranked, *pins.values()}:
        assert one.propensities == [1.0] * len(one.items)


def test_pins_stand_between_items_whose_propensities_they_leave_as_they_are() -> None:
    free = Placement([7, 8], ["popular", "explore"], [0.9, 0.25], [0.9, 0.3])
    one = between_pins(free, PlacementRules(6, {1: 1, 4: 2, 5: 3}))
    assert one.items == [7, 1, 8, 2, 3] and one.sources == ["popular", "pinned", "explore", "pinned", "pinned"]
    assert one.propensities == [0.9, 1.0, 0.25, 1.0, 1.0] and one.conditional_propensities() == [0.9, 1.0, 0.3, 1.0, 1.0]
