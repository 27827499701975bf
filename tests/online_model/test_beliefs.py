"""Beliefs of items: the mode that scipy finds, precisions by hand, what fades, and that they follow, are saved and change no prediction."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import optimize

from online_model.beliefs import HALF_LIFE_MS, PRECISION, Beliefs
from online_model.features import FIELDS
from online_model.model_settings import ModelSettings
from online_model.rows import Rows
from online_model.trainer import Trainer
from tests.online_model.test_trainer import DAY, T0, batch

ITEM = FIELDS.index("item")
ON = ModelSettings(beliefs=True, deep=False, causal=False, pairs=0.0, item_admission_events=1)


def beliefs(capacity: int = 100) -> Beliefs:
    return Beliefs(Rows(capacity, 10**15, 0), 1)


def learned(
    made: Beliefs, items: list[int], z: list[float], labels: list[int], weight: list[float] | None = None, now_ms: int = T0
) -> None:
    def column(values: list[float] | list[int]) -> np.ndarray:
        return np.array(values, np.float64)[:, None]

    weights = column(weight or [1.0] * len(z))
    made.learn(np.array(items, np.uint64), column(z), column(labels), weights, np.zeros((len(z), 1)), now_ms)


def believed(made: Beliefs, item: int) -> tuple[float, float]:
    mean, variance = made(np.array([item], np.uint64))[0, :, 0].tolist()
    return mean, variance


@pytest.mark.parametrize("labels", [[1, 0, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]])
def test_one_batch_leads_to_the_mode_of_the_posterior(labels: list[int]) -> None:
    z = np.array([-4.0, -3.5, 0.2])

    def loss(m: float) -> float:
        return float(np.sum(np.logaddexp(0, z + m) - np.array(labels) * (z + m)) + PRECISION * m * m / 2)

    mode = float(optimize.minimize_scalar(loss).x)
    made = beliefs()
    learned(made, [5, 5, 5], z.tolist(), labels)
    mean, variance = believed(made, 5)
    p = 1 / (1 + np.exp(-z - mode))
    assert mean == pytest.approx(mode, abs=0.05)
    assert variance == pytest.approx(1 / (PRECISION + np.sum(p * (1 - p))), rel=0.05)


def test_what_was_never_shown_is_believed_of_by_the_prior_and_other_items_stay_there() -> None:
    made = beliefs()
    learned(made, [5, 5], [0.0, 0.0], [1, 1])
    assert believed(made, 6) == believed(made, 0) == (0.0, 1 / PRECISION)
    assert believed(made, 5)[0] > 0 and believed(made, 5)[1] < 1 / PRECISION


def test_an_example_that_stands_for_three_counts_as_three() -> None:
    one, three = beliefs(), beliefs()
    learned(one, [5], [-1.0], [0], [3.0])
    learned(three, [5] * 3, [-1.0] * 3, [0] * 3)
    assert believed(one, 5) == pytest.approx(believed(three, 5))


def test_beliefs_go_back_to_the_prior_by_half_in_each_half_life() -> None:
    made = beliefs()
    for _ in range(40):
        learned(made, [5], [0.0], [1])
    mean, variance = believed(made, 5)
    made.learn(
        np.array([5], np.uint64), np.zeros((1, 1)), np.full((1, 1), 0.5), np.full((1, 1), 1e-12), np.full((1, 1), 1e-12), T0 + HALF_LIFE_MS
    )  # fmt: skip
    faded, wider = believed(made, 5)
    assert faded == pytest.approx(mean / 2, rel=1e-4)
    assert 1 / wider - PRECISION == pytest.approx((1 / variance - PRECISION) / 2, rel=1e-4)


def test_beliefs_change_no_prediction_and_a_copy_that_follows_or_is_restored_has_the_same() -> None:
    made, plain, copy = Trainer(ON), Trainer(msgspec.structs.replace(ON, beliefs=False)), Trainer(ON)
    for at in range(6):
        step = batch(20, at)
        report = made.step(step, T0 + 4 * DAY * at)
        plain.step(step, T0 + 4 * DAY * at)
        copy.apply_delta(made.delta(report.touched, dense=True))
        asked = batch(30, 50 + at, items=30)
        found = made.predict(asked)
        np.testing.assert_array_equal(found.logits, plain.predict(asked).logits)
        np.testing.assert_array_equal(found.belief, copy.predict(asked).belief)
        assert plain.predict(asked).belief.shape[1] == 0
    restored = Trainer(ON)
    restored.load(made.arrays(), made.meta())
    assert restored.digest() == made.digest() and (found.belief[:, 1] < 1 / PRECISION).any()
    items = np.unique(asked.fields[:, ITEM])
    made.forget(items)
    assert made.predict(asked).belief[:, 0].tolist() == np.zeros((30, 5)).tolist()


def test_a_checkpoint_with_beliefs_is_refused_by_name_where_they_are_off() -> None:
    made = Trainer(ON)
    made.step(batch(5, 1), T0)
    with pytest.raises(ValueError, match="beliefs: True -> False"):
        Trainer(msgspec.structs.replace(ON, beliefs=False)).load(made.arrays(), made.meta())
