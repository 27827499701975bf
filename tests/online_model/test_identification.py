"""R^2 of popularity on item ids: that of a least-squares fit on dummies, decayed, bounded, restorable."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.identification import ENOUGH, HALF_LIFE_MS, Identification

T0 = 1_700_000_000_000
Array = np.ndarray


def world(n: int, items: int, within: float, seed: int = 1) -> tuple[Array, Array, Array]:
    """Items, popularity whose logarithm has variance 1 between items and `within` within, and weights."""
    rng = np.random.default_rng(seed)
    item = rng.integers(0, items, n)
    level = 5 + rng.normal(0, 1, (items, 3))[item] + rng.normal(0, within**0.5, (n, 3))
    return (item + 1).astype(np.uint64), np.expm1(level), rng.integers(1, 4, n).astype(float)


def fitted(item: Array, popularity: Array, weight: Array) -> list[float]:
    """R^2 of weighted least squares of the logarithms on a dummy an item."""
    dummies = (item[:, None] == np.unique(item)).astype(float)
    out = []
    for y in np.log1p(popularity).T:
        w = weight**0.5
        found = np.linalg.lstsq(dummies * w[:, None], y * w, rcond=None)[0]
        mean = (weight * y).sum() / weight.sum()
        out.append(1 - (weight * (y - dummies @ found) ** 2).sum() / (weight * (y - mean) ** 2).sum())
    return out


def test_it_is_the_r2_of_a_regression_on_ids() -> None:
    item, popularity, weight = world(400, 20, within=0.5)
    made = Identification()
    for at in range(0, 400, 37):
        now = slice(at, at + 37)
        made.see(item[now], popularity[now], weight[now], T0)
    assert made.read() == pytest.approx(fitted(item, popularity, weight), abs=1e-9)
    assert made.rows == pytest.approx(weight.sum())


def test_a_row_of_a_half_life_ago_weighs_half_also_over_a_rescaling() -> None:
    item, popularity, weight = world(300, 10, within=0.5)
    made, start = Identification(), T0 // HALF_LIFE_MS * HALF_LIFE_MS
    days = np.repeat([0, 1, 70], 100)
    for day in (0, 1, 70):
        now = days == day
        made.see(item[now], popularity[now], weight[now], start + day * HALF_LIFE_MS)
    assert made.read() == pytest.approx(fitted(item, popularity, weight * 2.0 ** (days - 70.0)), abs=1e-9)


@pytest.mark.parametrize(("within", "warns"), [(0.0, True), (0.01, True), (0.05, False), (1.0, False)])
def test_it_warns_where_popularity_hardly_moves_within_items(within: float, warns: bool) -> None:
    made = Identification()  # R^2 is about 1 / (1 + within): .99 and .95
    made.see(*world(3_000, 50, within), T0)
    assert made.unidentified() is warns


def test_it_warns_of_nothing_before_enough_was_seen_and_where_one_half_life_moves() -> None:
    item, popularity, weight = world(3_000, 50, within=0.0)
    few, moves = Identification(), Identification()
    few.see(item[:300], popularity[:300], np.ones(300), T0)
    assert few.rows < ENOUGH and few.read() == pytest.approx([1.0] * 3) and not few.unidentified()
    popularity[:, 0] = world(3_000, 50, within=1.0)[1][:, 0]
    moves.see(item, popularity, weight, T0)
    assert not moves.unidentified()
    assert moves.read()[1:] == pytest.approx([1.0, 1.0]) and moves.read()[0] < 0.7
    assert np.isnan(Identification().read()).all() and not Identification().unidentified()


def test_past_the_cap_a_share_of_the_items_stands_for_all() -> None:
    made, whole = Identification(cap=500), Identification(cap=10_000)
    rows = world(40_000, 3_000, within=0.5)
    for one in (made, whole):
        for at in range(0, 40_000, 1_000):
            one.see(*(column[at : at + 1_000] for column in rows), T0)
    assert 100 < len(made.keys) <= 500 and len(whole.keys) == 3_000
    assert made.read() == pytest.approx(whole.read(), abs=0.05)  # a few standard errors of some 370 items


def test_restored_it_goes_on_to_the_same_bytes() -> None:
    made, again = Identification(cap=30), Identification(cap=30)
    made.see(*world(200, 60, 0.3), T0)
    again.load(made.arrays())
    for one in (made, again):
        one.see(*world(200, 60, 0.3, seed=2), T0 + HALF_LIFE_MS)
    assert all(np.array_equal(a, b) for a, b in zip(made.arrays().values(), again.arrays().values(), strict=True))
