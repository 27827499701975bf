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


def test_a_stationary_day_gives_no_alarm_and_a_shift_gives_one_where_it_is() -> None:
    rng, made = np.random.default_rng(1), Drift(PLACES)
    assert made.see(rng.integers(0, PLACES, 40_000), residuals(rng, 40_000), T0) == 0
    shifted = P + np.array([0.2, 0, 0, 0, 0])
    given = made.see(np.full(3_000, 1), residuals(rng, 3_000, shifted), T0 + 5)
    assert given >= 1 and made.alarms.sum() == made.alarms[0, 1] == given
    assert made.alarm_ms == T0 + 5


def test_rates_are_tripled_at_an_alarm_and_back_in_an_hour() -> None:
    made = Drift(PLACES)
    assert made.haste(0) == made.haste(T0) == 1.0
    made.alarm_ms = T0
    assert [made.haste(T0 + part * CALM_MS // 4) for part in range(6)] == pytest.approx([HASTE, 2.5, 2.0, 1.5, 1.0, 1.0])


@pytest.mark.parametrize("cut", [1, GROUP - 1, 1_000, 4_345])
def test_one_by_one_at_once_or_restored_it_is_the_same(cut: int) -> None:
    rng = np.random.default_rng(2)
    place = rng.integers(0, PLACES, 8_000)
    rows = np.concatenate([residuals(rng, 3_000), residuals(rng, 5_000, P + 0.3)])
    whole, first, again = Drift(PLACES), Drift(PLACES), Drift(PLACES)
    whole.see(place, rows, T0)
    for i in range(cut):
        first.see(place[i : i + 1], rows[i : i + 1], T0)
    again.load(first.arrays())
    again.see(place[cut:], rows[cut:], T0)
    assert whole.alarms.sum() > 0
    assert all(np.array_equal(a, b) for a, b in zip(whole.arrays().values(), again.arrays().values(), strict=True))


def test_haste_multiplies_the_first_steps_of_rows_and_of_the_dense_part() -> None:
    small = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4)
    plain, hasty = Trainer(small), Trainer(small)
    plain.step(batch(70, 1), T0)
    hasty.haste = 3.0
    hasty.step(batch(70, 1), T0)
    user = np.array([1000], np.uint64)
    assert hasty.wide.rows.find(user).all()
    ours, theirs = (t.wide.read(user, t.wide.rows.find(user)).numpy() for t in (hasty, plain))
    np.testing.assert_allclose(ours, 3 * theirs, rtol=1e-5)  # born at 0, one Adagrad step each
    start = Trainer(small).arrays()["weights"]
    moved = [t.arrays()["weights"] - start for t in (hasty, plain)]
    np.testing.assert_allclose(moved[0], 3 * moved[1], rtol=0, atol=1e-6)
