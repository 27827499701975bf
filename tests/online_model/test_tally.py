"""Tallies against scikit-learn, river and the loops of the oracle."""
from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import metrics as river_metrics
from sklearn.metrics import log_loss, roc_auc_score

from online_model.tally import Tally, scored
from tests.online_model.test_metrics import column, sigmoid, world
from tests.oracles import metrics as naive


@pytest.mark.parametrize(("bias", "spread"), [(-1.0, 1.5), (-4.0, 1.0), (0.0, 0.3), (-6.0, 2.5), (2.0, 4.0)])
def test_auc_and_log_loss_are_those_of_scikit_learn(bias: float, spread: float) -> None:
    rng = np.random.default_rng(7)
    z = rng.normal(bias, spread, (40_000, 1)).clip(-15, 15)
    p = sigmoid(z)
    y = (rng.random(z.shape) < p).astype(float)
    tally = Tally.empty(1)
    tally.add(scored(z, p, y))
    (figures,) = tally.read()
    assert figures.auc == pytest.approx(roc_auc_score(y[:, 0], z[:, 0]), abs=1e-3)
    assert figures.logloss == pytest.approx(log_loss(y[:, 0], p[:, 0].clip(1e-7, 1 - 1e-7)), abs=1e-9)


def test_auc_is_that_of_rivers_exact_one() -> None:
    _, _, z, p, y = world(3, 5_000, bias=-3.0)
    exact = river_metrics.RollingROCAUC(window_size=5_000)
    for score, label in zip(p[:, 0].tolist(), y[:, 0].tolist(), strict=True):
        exact.update(bool(label), score)
    tally = Tally.empty(1)
    tally.add(scored(z, p, y))
    assert tally.read()[0].auc == pytest.approx(exact.get(), abs=1e-3)


def test_random_labels_have_auc_one_half() -> None:
    rng = np.random.default_rng(1)
    z = rng.normal(0, 2, (100_000, 1))
    tally = Tally.empty(1)
    tally.add(scored(z, sigmoid(z), rng.integers(0, 2, z.shape)))
    assert tally.read()[0].auc == pytest.approx(0.5, abs=0.005)


@given(st.lists(st.tuples(st.integers(-8, 8), st.booleans()), min_size=1, max_size=25))
def test_every_figure_equals_its_loop(rows: list[tuple[int, bool]]) -> None:
    z = column(*[s / 2 for s, _ in rows])
    p, y = sigmoid(z), column(*[float(label) for _, label in rows])
    tally = Tally.empty(1)
    tally.add(scored(z, p, y))
    (figures,) = tally.read()
    zs, ps, ys = (c[:, 0].tolist() for c in (z, p, y))
    assert figures.auc == pytest.approx(naive.auc(zs, ys), abs=1e-12, nan_ok=True)
    assert figures.logloss == pytest.approx(naive.log_loss(ps, ys), abs=1e-12)
    assert figures.copc == pytest.approx(naive.copc(ps, ys), abs=1e-12)
    expected = naive.ne(ps, ys) if 0 < sum(ys) < len(ys) else math.nan
    assert figures.ne == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_ece_is_near_zero_when_calibrated_and_the_gap_when_shifted() -> None:
    _, _, z, p, y = world(5, 50_000)
    for shift in (0.0, 0.7, -0.7):
        shifted = sigmoid(z.astype(float) + shift)
        tally = Tally.empty(1)
        tally.add(scored(z, shifted, y))
        expected = naive.ece(z[:, 0].tolist(), shifted[:, 0].tolist(), y[:, 0].tolist())
        assert tally.read()[0].ece == pytest.approx(expected, abs=1e-3)
        assert (expected < 0.01) == (shift == 0.0)


def test_tasks_do_not_mix() -> None:
    _, _, z, p, y = world(2, 4_000, tasks=3)
    y[:, 2] = 1.0
    together = Tally.empty(3)
    together.add(scored(z, p, y))
    for task, figures in enumerate(together.read()):
        alone = Tally.empty(1)
        alone.add(scored(z[:, [task]], p[:, [task]], y[:, [task]]))
        assert msgspec.structs.asdict(figures) == pytest.approx(msgspec.structs.asdict(alone.read()[0]), rel=1e-12, nan_ok=True)
    assert math.isnan(together.read()[2].auc) and math.isnan(together.read()[2].ne)


def test_a_prediction_of_exactly_one_costs_much_but_not_everything() -> None:
    tally = Tally.empty(1)
    tally.add(scored(column(15.0), column(1.0), column(0.0)))
    assert tally.read()[0].logloss == pytest.approx(-math.log(1e-7), abs=1e-6)
