"""The blend of the two paths: its gradient, its bounds, and that the better path wins."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model.blend import RATE, START, Blend


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def test_a_step_is_adagrads_on_the_gradient_that_autograd_finds() -> None:
    rng = np.random.default_rng(1)
    linear, deep, labels = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), (rng.random((6, 2)) < 0.5).astype(float)
    share = torch.full((2,), START, dtype=torch.float64, requires_grad=True)
    z = torch.from_numpy(linear) * (1 - share) + torch.from_numpy(deep) * share
    torch.nn.functional.binary_cross_entropy_with_logits(z, torch.from_numpy(labels), reduction="sum").backward()
    assert share.grad is not None
    slope = share.grad.numpy()
    blend = Blend(2)
    blend.step(linear, deep, _sigmoid(blend(linear, deep)) - labels)
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
        blend.step(linear[rows], deep[rows], _sigmoid(blend(linear[rows], deep[rows])) - labels[rows])
        assert 0 <= blend.share.item() <= 1
    assert blend.share.item() == pytest.approx(end, abs=0.1)
