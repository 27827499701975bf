"""The popularity effect: its inputs by loops, moments over decayed weights, planted slopes, only where popularity moves a task."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from online_model import popularity_effect
from online_model.features import COUNTS, SCOPES, TASKS
from online_model.popularity_effect import HALF_LIFE_MS, INPUTS, MOVED, PopularityEffect
from tests.online_model.test_trainer import batch
from tests.oracles import popularity_effect as naive

P, T = len(INPUTS), len(TASKS)
DAY = int(HALF_LIFE_MS)
T0 = 1_700_000_000_000
parts = st.lists(st.tuples(st.integers(1, 4), st.integers(-2 * DAY, 3 * DAY)), min_size=1, max_size=6)  # rows, later


def effect(rate: float = 0.05) -> PopularityEffect:
    return PopularityEffect(rate, torch.device("cpu"))


def logits(made: PopularityEffect, x: np.ndarray) -> np.ndarray:
    return made(torch.from_numpy(x)).numpy()


def test_inputs_equal_the_loops() -> None:
    one = batch(5, 1)
    one.popularity[0] = [50.0, 400.0, 900.0]
    one.popularity[1, 0] = -1e-3  # what an undo may leave
    one.item_age_s[:] = [0, 3600, 1e7, -1, 86400]
    got = popularity_effect.inputs(one)
    exposures = one.counts[:, SCOPES.index("item"), COUNTS.index("exposures")]
    assert got.shape == (5, P)
    for b in range(5):
        expected = naive.inputs(one.popularity[b].tolist(), float(one.item_age_s[b]), float(exposures[b]))
        assert got[b].tolist() == pytest.approx(expected, abs=1e-6)  # float32


def test_neither_ids_nor_content_nor_quality_enter() -> None:
    one, other = batch(5, 1), batch(5, 2)
    other.popularity, other.item_age_s = one.popularity, one.item_age_s
    item = SCOPES.index("item")
    other.counts[:, item, COUNTS.index("exposures")] = one.counts[:, item, COUNTS.index("exposures")]
    assert not np.array_equal(one.fields, other.fields) and not np.array_equal(one.counts, other.counts)
    np.testing.assert_array_equal(popularity_effect.inputs(one), popularity_effect.inputs(other))


@given(parts)
def test_moments_are_those_of_decayed_weights(sizes: list[tuple[int, int]]) -> None:
    made, rng, now = effect(), np.random.default_rng(4), T0
    rows, times = [], []
    for n, later in sizes:
        now += later  # late ones too
        raw = rng.normal(3, 2, (n, P))
        made.see(raw, now)
        rows += raw.tolist()
        times += [now] * n
    mean, variance = naive.moments(rows, times, HALF_LIFE_MS)
    np.testing.assert_allclose(made.mean, mean, rtol=0, atol=1e-9)
    np.testing.assert_allclose(made.variance, variance, rtol=0, atol=1e-9)
    raw = rng.normal(3, 2, (3, P))
    expected = np.clip((raw - np.array(mean)) / np.sqrt(np.array(variance) + 1e-6), -5, 5)
    np.testing.assert_allclose(made.standardised(raw), expected, rtol=0, atol=1e-4 if len(rows) < 3 else 1e-6)


def test_moments_of_one_moment_are_those_of_numpy() -> None:
    made, raw = effect(), np.random.default_rng(5).uniform(2, 9, (200, P))
    for at in range(0, 200, 40):
        made.see(raw[at : at + 40], T0)
    np.testing.assert_allclose(made.mean, raw.mean(0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(made.variance, raw.var(0), rtol=0, atol=1e-11)
    x = made.standardised(raw)
    assert (x.dtype, x.shape) == (np.float32, raw.shape)
    np.testing.assert_allclose([x.mean(0), x.var(0)], [[0] * P, [1] * P], rtol=0, atol=1e-6)


def test_what_was_seen_a_half_life_ago_counts_half() -> None:
    made = effect()
    made.see(np.full((2, P), 1.0), T0)
    made.see(np.full((1, P), 4.0), T0 + DAY)
    assert made.mean.tolist() == pytest.approx([(2 / 2 * 1 + 4) / 2] * P, abs=1e-12)
    assert made.variance.tolist() == pytest.approx([1.5**2] * P, abs=1e-12)


def test_a_candidate_that_stands_for_three_counts_as_three() -> None:
    thin, whole = effect(), effect()
    raw, times = np.random.default_rng(6).uniform(2, 9, (4, P)), np.array([3, 1, 1, 2])
    thin.see(raw, T0, times.astype(np.float32))
    whole.see(np.repeat(raw, times, axis=0), T0)
    np.testing.assert_allclose([thin.mean, thin.variance], [whole.mean, whole.variance], rtol=0, atol=1e-12)
    assert thin.mass == whole.mass == 7


def test_nothing_seen_changes_nothing_and_extremes_are_clipped() -> None:
    made = effect()
    made.see(np.zeros((0, P)), T0)
    assert (made.mass, made.at_ms, made.mean.tolist()) == (0, 0, [0] * P)
    made.see(np.array([[0.0] * P, [2.0] * P]), T0)  # mean 1, deviation 1
    assert made.standardised(np.array([[1e9] * P, [-1e9] * P, [1.0] * P])).tolist() == [[5.0] * P, [-5.0] * P, [0.0] * P]


def test_a_constant_input_has_no_say() -> None:
    made = effect()
    made.see(np.full((9, P), 7.0), T0)
    assert made.standardised(np.full((1, P), 7.0)).tolist() == [[0.0] * P]


def test_one_step_by_hand() -> None:
    made, full_play = effect(0.1), TASKS.index("full_play")
    x = np.zeros((2, P), np.float32)
    x[:, 0] = [1, -2]
    dz = torch.zeros(2, T)
    dz[:, full_play] = torch.tensor([0.5, -0.25])
    made.learn(torch.from_numpy(x), dz)  # g = .5 + .5 = 1; squares 1 + 1
    assert made.weights[0, full_play].item() == pytest.approx(-0.1 / 2**0.5)
    assert made.squares[0, full_play].item() == 2


def test_tasks_that_popularity_does_not_move_stay_without_an_effect() -> None:
    assert MOVED == ("full_play", "skip")
    made, g = effect(), torch.Generator().manual_seed(6)
    for _ in range(20):
        made.learn(torch.randn(8, P, generator=g), torch.randn(8, T, generator=g))
    moved = [bool(column.any()) for column in made.weights.t()]
    assert moved == [task in MOVED for task in TASKS]
    assert logits(made, np.ones((1, P), np.float32))[0, TASKS.index("collect")] == 0


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_a_planted_slope_is_found(slope: float) -> None:
    """Chance sigmoid(quality + slope * x): items' qualities stand still and are known here; their popularity moves."""
    rng, made, full_play = np.random.default_rng(7), effect(), TASKS.index("full_play")
    quality = rng.normal(-1, 1, 40)
    for _ in range(1_500):
        items = rng.integers(0, 40, 32)
        x = rng.normal(0, 1, (32, P)).astype(np.float32)
        happened = rng.random(32) < 1 / (1 + np.exp(-(quality[items] + slope * x[:, 1])))
        dz = np.zeros((32, T), np.float32)
        dz[:, full_play] = 1 / (1 + np.exp(-(quality[items] + logits(made, x)[:, full_play]))) - happened
        made.learn(torch.from_numpy(x), torch.from_numpy(dz))
    weights = made.weights[:, full_play].numpy()
    assert weights[1] == pytest.approx(slope, abs=0.05)  # 48 000 rows: standard error .012
    assert np.abs(np.delete(weights, 1)).max() < 0.05


def test_restored_goes_on_as_if_never_stopped() -> None:
    made, again, g = effect(), effect(), torch.Generator().manual_seed(8)
    rng = np.random.default_rng(8)

    def go_on(one: PopularityEffect, x: torch.Tensor, dz: torch.Tensor, raw: np.ndarray, now: int) -> None:
        one.learn(x, dz)
        one.see(raw, now)

    go_on(made, torch.randn(8, P, generator=g), torch.randn(8, T, generator=g), rng.normal(0, 1, (8, P)), T0)
    again.load(made.arrays())
    later = torch.randn(8, P, generator=g), torch.randn(8, T, generator=g), rng.normal(0, 1, (8, P))
    for one in (made, again):
        go_on(one, *later, T0 + DAY)
    for name, array in made.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array, err_msg=name)
