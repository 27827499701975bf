"""Gradients on the logit: BCE, kept share, reversal."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model.losses import log_loss, logit_gradient


def gradient(z: float, label: float = 0.0, sign: float = 0.0, example: float = 1.0, weight: float = 1.0) -> float:
    parts = [torch.tensor([[v]], dtype=torch.float64) for v in (z, label, sign, example, np.log(weight))]
    return logit_gradient(*parts).item()


def test_gradient_is_autograd_of_binary_cross_entropy() -> None:
    for z, label in ((0.3, 1.0), (-2.0, 0.0)):
        x = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        torch.nn.functional.binary_cross_entropy_with_logits(x, torch.tensor(label, dtype=torch.float64)).backward()
        assert x.grad is not None and gradient(z, label) == pytest.approx(x.grad.item(), abs=1e-12)


def test_a_reversal_is_constant_wherever_the_logit_stands() -> None:
    assert [gradient(z, sign=1.0, example=0.0) for z in (-3.0, 0.0, 5.0)] == [-1.0] * 3
    assert gradient(2.0, sign=-1.0, example=0.0) == 1.0


def test_expected_gradient_with_reversals_is_that_of_the_true_label() -> None:
    # MODEL.md section 7: p = .08, prediction f = .3: (1 - p) and p negatives first, then p reversals -> f - p = .22
    f, p = 0.3, 0.08
    z = np.log(f / (1 - f))
    assert gradient(z) + p * gradient(z, sign=1.0, example=0.0) == pytest.approx(0.22, abs=1e-12)


def test_what_other_answers_to_late_positives_expect_is_the_models_numbers() -> None:
    # MODEL.md section 7: all are sent as negatives first, p of them again as positives, by weights (1 - f)(1 + f) and 1 + f (1907.06558)
    f, p = 0.3, 0.08
    z = np.log(f / (1 - f))
    weighted = (1 - f) * (1 + f) * gradient(z) + p * (1 + f) * gradient(z, label=1.0)
    assert weighted == pytest.approx(0.2002, abs=1e-12)
    assert weighted == pytest.approx((1 - f * f) * 0.22, abs=1e-12)  # right where it is zero, and slower than reversals
    learned = 0.08 / 1.08  # unweighted, duplicates learn p / (1 + p)
    z = np.log(learned / (1 - learned))
    assert learned == pytest.approx(0.0740741, abs=1e-7)
    assert gradient(z) + p * gradient(z, label=1.0) == pytest.approx(0, abs=1e-12)


def test_an_undo_takes_back_what_its_reversal_gave() -> None:
    for z in (-3.0, 0.5):
        assert gradient(z, sign=1.0, example=0.0) + gradient(z, sign=-1.0, example=0.0) == 0


def test_kept_share_shifts_what_is_trained_not_what_is_served() -> None:
    # MODEL.md section 7: kept negatives w = .1, observed rate q = .1 -> served p = .01098901098901099
    p = 0.01098901098901099
    assert gradient(np.log(p / (1 - p)), label=0.1, weight=0.1) == pytest.approx(0, abs=1e-12)


def test_log_loss_is_the_models_number() -> None:
    p, y = np.array([0.8, 0.3, 0.2, 0.6]), np.array([1, 0, 0, 1])  # MODEL.md section 9
    assert log_loss(np.log(p / (1 - p)), y).mean() == pytest.approx(0.32844691758328565, abs=1e-12)
