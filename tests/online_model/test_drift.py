"""Drift of residuals: a planted shift is found where it is, a stationary log gives no alarm, the reaction fades, restarts are exact."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.drift import CALM_MS, GROUP, HASTE, Drift
from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import T0, batch

PLACES, P = 3, np.array([0.3, 0.02, 0.01, 0.4, 0.01])


def residuals(rng: np.random.Generator, n: int, rates: np.ndarray = P) -> np.ndarray:
    return (rng.random((n, len(TASKS))) < rates) - P


def see(made: Drift, place: np.ndarray, rows: np.ndarray, now_ms: int = T0) -> int:
    return made.see(place, rows, np.ones(len(rows)), now_ms)


@pytest.mark.parametrize(("keep", "rate", "alarmed"), [(0.001, 0.3, False), (0.02, 0.6, True)])
def test_thinned_negatives_give_no_false_alarm_and_a_shift_gives_one_all_the_same(keep: float, rate: float, alarmed: bool) -> None:
    """A kept negative stands for 1 / keep. As they come, residuals of up to -300 are no values that ADWIN is for: 30 alarms."""
    rng, made = np.random.default_rng(3), Drift(1)
    positive = rng.random(400_000) < np.where(np.arange(400_000) < 200_000, 0.3, rate)
    there = positive | (rng.random(len(positive)) < keep)
    rows = np.repeat(positive[there, None] - 0.3, len(TASKS), 1)
    alarms = made.see(np.zeros(len(rows), np.int64), rows, np.where(positive, 1.0, 1 / keep)[there], T0)
    assert (alarms > 0) is alarmed and made.arrays()["most"] == 1 / keep


def test_a_stationary_day_gives_no_alarm_and_a_shift_gives_one_where_it_is() -> None:
    rng, made = np.random.default_rng(1), Drift(PLACES)
    assert see(made, rng.integers(0, PLACES, 40_000), residuals(rng, 40_000)) == 0
    shifted = P + np.array([0.2, 0, 0, 0, 0])
    given = see(made, np.full(3_000, 1), residuals(rng, 3_000, shifted), T0 + 5)
    assert given >= 1 and made.alarms.sum() == made.alarms[0, 1] == given
    assert made.alarm_ms == T0 + 5


def test_rates_are_tripled_at_an_alarm_and_back_in_an_hour() -> None:
    made = Drift(PLACES)
    assert made.lr_multiplier(0) == made.lr_multiplier(T0) == 1.0
    made.alarm_ms = T0
    assert [made.lr_multiplier(T0 + part * CALM_MS // 4) for part in range(6)] == pytest.approx([HASTE, 2.5, 2.0, 1.5, 1.0, 1.0])


@pytest.mark.parametrize("cut", [1, GROUP - 1, 1_000, 4_345])
def test_one_by_one_at_once_or_restored_it_is_the_same(cut: int) -> None:
    rng = np.random.default_rng(2)
    place = rng.integers(0, PLACES, 8_000)
    rows = np.concatenate([residuals(rng, 3_000), residuals(rng, 5_000, P + 0.3)])
    whole, first, again = Drift(PLACES), Drift(PLACES), Drift(PLACES)
    see(whole, place, rows)
    for i in range(cut):
        see(first, place[i : i + 1], rows[i : i + 1])
    again.load(first.arrays())
    see(again, place[cut:], rows[cut:])
    assert whole.alarms.sum() > 0
    assert all(np.array_equal(a, b) for a, b in zip(whole.arrays().values(), again.arrays().values(), strict=True))


def test_haste_multiplies_the_first_steps_of_rows_and_of_the_dense_part() -> None:
    small = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4)
    plain, hasty = Trainer(small), Trainer(small)
    plain.step(batch(70, 1), T0)
    hasty.lr_multiplier = 3.0
    hasty.step(batch(70, 1), T0)
    user = np.array([1000], np.uint64)
    assert hasty.state.wide.rows.find(user).all()
    ours, theirs = (t.state.wide.read(user, t.state.wide.rows.find(user)).numpy() for t in (hasty, plain))
    np.testing.assert_allclose(ours, 3 * theirs, rtol=1e-5)  # born at 0, one Adagrad step each
    start = Trainer(small).arrays()["weights"]
    moved = [t.arrays()["weights"] - start for t in (hasty, plain)]
    np.testing.assert_allclose(moved[0], 3 * moved[1], rtol=0, atol=1e-6)
