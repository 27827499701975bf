"""Figures of pages against counting by hand, and the overlap against a naive loop."""
from __future__ import annotations

import itertools

import numpy as np
import pytest

from replay.simulator.page_curves import Hindsight, Visit, by_strategy, curves, figures, overlap, parts, regret, strategies

CATEGORY = np.array([0, 0, 1, 1, 2, 2])


def visit(listener: int, items: list[int], strategy: str = "tail", plays: int = 2, dislikes: int = 0, experience: float = 0.5) -> Visit:
    return Visit(
        listener=listener, strategy=strategy, propensities={"blend-0": 0.25, "tail": 0.75}, experience=experience,
        revenue=0.1 * len(items), plays=plays, dislikes=dislikes, likely_plays=0.5 * len(items), likely_dislikes=0.01 * len(items),
        items=items, liked=items[:1], exposures=6,
    )  # fmt: skip


def test_figures_by_hand() -> None:
    found = figures([visit(7, [0, 1]), visit(8, [1, 2], dislikes=1, plays=3), visit(7, [4], experience=0.2)], CATEGORY)
    assert (found.pages, found.looked, found.exposures, found.distinct_items) == (3, 5, 18, 4)
    assert found.experience == pytest.approx(0.4)
    assert found.revenue == pytest.approx(0.5 / 3)
    assert found.categories_per_user == 2.0  # listener 7: 0 and 2; listener 8: 0 and 1
    assert found.liked_categories_per_user == 1.5  # 0 and 2; 0
    assert found.overlap == pytest.approx(1 / 4)  # {0, 1, 4} and {1, 2}
    assert found.dislikes_per_1000_plays == pytest.approx(1_000 / 7)
    assert found.likely_dislikes_per_1000_plays == pytest.approx(20)


def test_overlap_is_the_mean_of_a_naive_loop_over_pairs() -> None:
    rng = np.random.default_rng(1)
    sets = [set(rng.integers(50, size=rng.integers(1, 20)).tolist()) for _ in range(40)]
    naive = [len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)]
    assert overlap([*sets, set()], 0) == pytest.approx(np.mean(naive), abs=1e-12)
    assert overlap([{1}, {1}], 0) == 1
    assert np.isnan(overlap([{1}], 0))


def test_overlap_of_a_sample_is_near_that_of_all() -> None:
    rng = np.random.default_rng(1)
    sets = [set(rng.integers(50, size=15).tolist()) for _ in range(600)]
    naive = np.mean([len(a & b) / len(a | b) for a, b in itertools.combinations(sets, 2)])
    assert overlap(sets, 0) == overlap(sets, 0) != overlap(sets, 1)
    assert overlap(sets, 0) == pytest.approx(naive, abs=0.01)


def test_strategies_have_figures_of_their_own_pages() -> None:
    visits = [visit(1, [0], "tail"), visit(2, [1, 3], "blend-0"), visit(2, [5], "tail"), visit(2, [0], "fixed")]
    assert strategies(visits) == ["blend-0", "tail", "fixed"]
    found = by_strategy(visits, CATEGORY)
    assert {name: (f.pages, f.distinct_items) for name, f in found.items()} == {"blend-0": (1, 2), "tail": (2, 2), "fixed": (1, 1)}
    assert np.isnan(figures([], CATEGORY).experience)


def test_parts_hold_every_page_once_in_order() -> None:
    visits = [visit(n, [0]) for n in range(29)]
    cut = parts(visits)
    assert [v.listener for part in cut for v in part] == list(range(29))
    assert {len(part) for part in cut} == {2, 3}
    assert parts([]) == []


def test_curves_of_strategies_add_up_to_that_of_all() -> None:
    visits = [visit(n % 5, [n % 6], ("tail", "blend-0")[n % 3 == 0]) for n in range(40)]
    everything, *each = curves(visits, CATEGORY, many=4)
    assert (everything.name, [c.name for c in each]) == ("all", ["blend-0", "tail"])
    assert [f.pages for f in everything.figures] == [10, 10, 10, 10]
    for part in range(4):
        assert sum(c.figures[part].pages for c in each) == 10
        assert sum(c.share[part] for c in each) == pytest.approx(1)
    assert everything.figures[0] == figures(visits[:10], CATEGORY)


def test_regret_is_against_the_strategy_that_is_best_over_all_visitors() -> None:
    # a: .4, .1 (mean .25); b: .3, .3 (mean .3, the best). Policy: half each, then b alone: .35, .3
    seen = [
        Hindsight(3, {"a": 0.4, "b": 0.3}, {"a": 0.5, "b": 0.5}),
        Hindsight(9, {"a": 0.1, "b": 0.3}, {"a": 0.0, "b": 1.0}),
    ]
    found = regret(seen)
    assert (found.best, found.visit) == ("b", [3, 9])
    assert found.curve == pytest.approx([-0.05, -0.025])  # -.05, then 0: means until then
    assert found.mean == pytest.approx({"a": 0.25, "b": 0.3})
    assert found.policy == pytest.approx(0.325)
    with pytest.raises(ValueError, match="more sessions"):
        regret([])
