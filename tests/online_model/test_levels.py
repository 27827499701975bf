"""Levels of items: decayed means by loops, what is unknown, slopes that do not mind which items are good, what is taken off a rate."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from online_model import forward, popularity_effect
from online_model.features import COUNTS, FIELDS, SCOPES, TASKS
from online_model.levels import HALF_LIFE_MS, Levels
from online_model.model_settings import ModelSettings
from online_model.numeric import ITEM_LIFTS, numbers, trust
from online_model.popularity_effect import INPUTS, PopularityEffect
from online_model.rows import Rows
from online_model.trainer import Trainer
from tests.online_model.test_trainer import batch
from tests.oracles import levels as naive

P, T = len(INPUTS), len(TASKS)
WEEK = int(HALF_LIFE_MS)
T0 = 1_700_000_000_000
ITEM = FIELDS.index("item")
FULL_PLAY = TASKS.index("full_play")
exposures = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([1.0, 0.5, 0.1])), max_size=6)  # item, kept share
steps = st.lists(st.tuples(exposures, st.integers(-WEEK, 2 * WEEK)), min_size=1, max_size=6)


def levels(capacity: int = 100) -> Levels:
    return Levels(Rows(capacity, 10 * WEEK, 0), 2)


def seen(made: Levels, item: int, value: float, now_ms: int, importance_weight: float = 1) -> np.ndarray:
    return made.see(np.array([item], np.uint64), np.full((1, 2), value), np.array([importance_weight]), now_ms)


@given(steps)
def test_a_level_is_the_mean_by_decayed_weights(parts: list[tuple[list[tuple[int, float]], int]]) -> None:
    made, rng, now = levels(), np.random.default_rng(1), T0
    rows: dict[int, list[tuple[float, float, int]]] = {item: [] for item in range(1, 5)}
    for step, later in parts:
        now += later
        inputs = rng.normal(3, 2, (len(step), 2))
        made.see(np.array([item for item, _ in step], np.uint64), inputs, np.array([1 / w for _, w in step]), now)
        for (item, w), x in zip(step, inputs, strict=True):
            if item:
                rows[item].append((x[1], 1 / w, now))
    got, known = made(np.arange(5, dtype=np.uint64))
    assert known[:, 0].tolist() == [False, *(bool(rows[item]) for item in rows)]
    for item, of in rows.items():
        expected = naive.level(*zip(*of, strict=True), HALF_LIFE_MS) if of else 0.0
        assert got[item, 1] == pytest.approx(expected, abs=1e-4)


def test_by_hand() -> None:
    made = levels()
    assert seen(made, 7, 1.0, T0).tolist() == [7]
    seen(made, 7, 4.0, T0 + WEEK)
    got, known = made(np.array([7, 8, 0, 7], np.uint64))
    assert got[:, 0].tolist() == [3.0, 0.0, 0.0, 3.0]  # (1 / 2 + 4) / (1 / 2 + 1)
    assert known[:, 0].tolist() == [True, False, False, True]
    seen(made, 7, 0.0, T0 + WEEK, importance_weight=3)
    assert made(np.array([7], np.uint64))[0][0, 0] == 1.0  # 4.5 / (1.5 + 3)


def test_an_item_that_lost_its_row_begins_anew() -> None:
    made = levels(capacity=2)
    for item in (1, 2):
        seen(made, item, 9.0, T0 + item)
    assert seen(made, 3, 5.0, T0 + 9).tolist() == [3, 1]  # the least lately seen went
    assert made(np.array([1], np.uint64))[1].tolist() == [[False]]
    seen(made, 1, 4.0, T0 + 10)
    assert made(np.array([1], np.uint64))[0].tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize(("within", "found"), [(True, 0.5), (False, 1.0)])
def test_a_slope_within_items_does_not_mind_that_the_better_ones_are_more_popular(within: bool, found: float) -> None:
    """Items' qualities equal half their levels, and nothing else tells of them: between items the slope is .5 + .5."""
    rng, made = np.random.default_rng(7), PopularityEffect(0.05, torch.device("cpu"))
    level = rng.normal(0, 2, 40)
    for _ in range(1_500):
        items = rng.integers(0, 40, 32)
        moved = rng.normal(0, 0.5, 32)
        x = np.zeros((32, P), np.float32)
        x[:, 1] = level[items] + moved
        z = 0.5 * level[items] + 0.5 * x[:, 1]
        dz = np.zeros((32, T), np.float32)
        kept = 0.5 * level[items] if within else 0  # what the rest of a model knows of quality once it stands
        added = made(torch.from_numpy(x)).numpy()[:, FULL_PLAY]
        dz[:, FULL_PLAY] = 1 / (1 + np.exp(-(kept + added))) - (rng.random(32) < 1 / (1 + np.exp(-z)))
        x[:, 1] -= level[items] * within
        made.learn(torch.from_numpy(x), torch.from_numpy(dz))
    assert made.weights[1, FULL_PLAY].item() == pytest.approx(found, abs=0.1)


def test_what_popularity_left_in_an_items_rates_is_taken_off() -> None:
    made, one = Trainer(ModelSettings()), batch(6, 3)
    made.step(one, T0)
    made.state.effect.weights[:, FULL_PLAY] = torch.linspace(-0.3, 0.4, P)
    one.fields[5, ITEM] = 12345  # never shown
    run = forward.forward(made.state, one, 6, learns=False)
    level, known = made.state.levels(one.fields[:, ITEM])
    assert known[:, 0].tolist() == [True] * 5 + [False]
    weights, s = made.state.effect.weights.numpy(), made.settings.count_strength
    n = one.counts[:, SCOPES.index("item"), COUNTS.index("exposures")]
    plain = numbers(one, made.state.base.rates(), s)
    got = run.numbers.numpy()
    for b in range(6):
        z = (level[b] - made.state.effect.mean) / np.sqrt(made.state.effect.variance + 1e-6) * known[b]
        kept = n[b] / (n[b] + s) * (np.clip(z, -5, 5) @ weights)
        np.testing.assert_allclose(got[b, ITEM_LIFTS], plain[b, ITEM_LIFTS] - kept, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(np.delete(got, np.r_[ITEM_LIFTS], 1), np.delete(plain, np.r_[ITEM_LIFTS], 1))
    now = made.state.effect.standardised(popularity_effect.inputs(one))
    expected = (now - made.state.effect.standardised(level)) * known
    np.testing.assert_allclose(run.popularity.moved.numpy(), expected, rtol=0, atol=1e-6)
    assert not run.popularity.moved[5].any() and run.popularity.now[5].any()


def test_a_rate_of_which_more_was_taken_back_than_is_left_is_that_of_no_positive() -> None:
    """A collect fades, its undo a week later is taken away whole: below nothing there is no rate."""
    one, none = batch(2, 4), batch(2, 4)
    one.counts[:, :, 1:], none.counts[:, :, 1:] = -0.5, 0.0
    base = np.full(T, 0.1)
    np.testing.assert_array_equal(numbers(one, base, 10.0), numbers(none, base, 10.0))


def test_a_rate_is_its_counts_own_in_the_share_that_it_is_drawn_with() -> None:
    assert trust(np.array([0.0, 10.0, 30.0]), 10.0).tolist() == [0, 0.5, 0.75]


def test_an_erased_item_has_no_level() -> None:
    made, one = Trainer(ModelSettings()), batch(4, 5)
    made.step(one, T0)
    key = one.fields[:1, ITEM].copy()
    assert made.state.levels(key)[1].all()
    assert key[0] in made.forget(key)["levels"]
    assert not made.state.levels(key)[1].any()
