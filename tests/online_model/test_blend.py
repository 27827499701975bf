"""The blend of the two paths: its gradient, its bounds, and that the better path wins."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model.blend import RATE, START, Blend, CrossDomainBlend


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def blended(blend: Blend, linear: np.ndarray, deep: np.ndarray) -> np.ndarray:
    return blend(torch.from_numpy(linear), torch.from_numpy(deep)).numpy()


def with_transfer(blend: CrossDomainBlend, z: np.ndarray, transfer: np.ndarray, place: np.ndarray) -> np.ndarray:
    return blend(torch.from_numpy(z), torch.from_numpy(transfer), place).numpy()


def test_a_step_is_adagrads_on_the_gradient_that_autograd_finds() -> None:
    rng = np.random.default_rng(1)
    linear, deep, labels = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), (rng.random((6, 2)) < 0.5).astype(float)
    share = torch.full((2,), START, dtype=torch.float64, requires_grad=True)
    z = torch.from_numpy(linear) * (1 - share) + torch.from_numpy(deep) * share
    torch.nn.functional.binary_cross_entropy_with_logits(z, torch.from_numpy(labels), reduction="sum").backward()
    assert share.grad is not None
    slope = share.grad.numpy()
    blend = Blend(2)
    blend.step(linear, deep, _sigmoid(blended(blend, linear, deep)) - labels)
    np.testing.assert_allclose(blend.share, START - RATE * slope / np.sqrt(1 + slope**2), rtol=1e-12)


@pytest.mark.parametrize(("better", "end"), [("linear", 0.0), ("deep", 1.0)])
def test_the_path_that_knows_takes_over_and_the_share_stays_within_its_bounds(better: str, end: float) -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(0, 2, (20_000, 1))
    noise = truth + rng.normal(0, 2, truth.shape)
    labels = (rng.random(truth.shape) < _sigmoid(truth)).astype(float)
    linear, deep = (truth, noise) if better == "linear" else (noise, truth)
    blend = Blend(1)
    for at in range(0, len(truth), 4):
        rows = slice(at, at + 4)
        blend.step(linear[rows], deep[rows], _sigmoid(blended(blend, linear[rows], deep[rows])) - labels[rows])
        assert 0 <= blend.share.item() <= 1
    assert blend.share.item() == pytest.approx(end, abs=0.1)


def test_a_step_of_hearsay_is_adagrads_on_the_gradient_that_autograd_finds() -> None:
    rng = np.random.default_rng(5)
    z, transfer, labels = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), (rng.random((6, 2)) < 0.5).astype(float)
    place = np.array([0, 2, 2, 0, 0, 2])
    made = CrossDomainBlend(3, 2)
    made.share[:] = rng.uniform(0.4, 0.6, (3, 2))
    before = made.share.copy()
    share = torch.from_numpy(before.copy()).requires_grad_()
    logits = torch.from_numpy(z) + share[place] * torch.from_numpy(transfer)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(labels), reduction="sum").backward()
    assert share.grad is not None
    slope = share.grad.numpy()
    np.testing.assert_allclose(with_transfer(made, z, transfer, place), logits.detach().numpy(), rtol=1e-12)
    made.step(transfer, place, _sigmoid(with_transfer(made, z, transfer, place)) - labels)
    expected = np.clip(before - CrossDomainBlend.RATE * slope / np.sqrt(CrossDomainBlend.SQUARE + slope**2), 0, 1)
    np.testing.assert_allclose(made.share, expected, rtol=1e-12)
    assert (made.share[1] == before[1]).all()  # no example of that domain


@pytest.mark.parametrize("true", [True, False])
def test_hearsay_counts_where_it_is_right_and_not_where_it_is_noise(true: bool) -> None:
    rng, made = np.random.default_rng(6), CrossDomainBlend(2, 1)
    assert with_transfer(made, np.ones((1, 1)), np.full((1, 1), 9.0), np.zeros(1, np.int64)).tolist() == [[1.0]]
    found = []
    for _ in range(400):
        transfer = rng.normal(size=(32, 1))
        labels = rng.random((32, 1)) < _sigmoid(transfer * true)
        place = np.zeros(32, np.int64)
        made.step(transfer, place, _sigmoid(with_transfer(made, np.zeros((32, 1)), transfer, place)) - labels)
        found.append(made.share[0, 0])
    assert np.mean(found[200:]) > 0.85 if true else np.mean(found[200:]) < 0.05
    assert made.share[1, 0] == 0
