"""Gradients on the logit: BCE, kept share, reversal."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model.losses import log_loss, logit_gradient


def gradient(z: float, label: float = 0.0, sign: float = 0.0, example: float = 1.0, weight: float = 1.0) -> float:
    parts = [torch.tensor([[v]], dtype=torch.float64) for v in (z, label, sign, example / weight)]
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


def test_what_is_learned_where_negatives_are_thinned_out_is_the_models_number() -> None:
    # MODEL.md section 7: negatives kept at w = .1, positives q = .1 of what is seen -> p = q / (q + (1 - q) / w) = .01098901098901099
    p, q, w = 0.01098901098901099, 0.1, 0.1
    z = np.log(p / (1 - p))
    assert p == pytest.approx(1 / (1 + np.exp(-(np.log(q / (1 - q)) + np.log(w)))), abs=1e-15)
    assert q * gradient(z, label=1.0) + (1 - q) * gradient(z, weight=w) == pytest.approx(0, abs=1e-12)


def test_beside_negatives_that_are_all_kept_only_this_form_learns_the_rate() -> None:
    # Full plays .3, skips .4, without an act .3 of which w = .1 is seen. On z - ln w one would serve .3 / .43 shifted by ln .1: .065.
    played, skipped, silent, w = 0.3, 0.4, 0.3, 0.1
    z = np.log(played / (1 - played))
    here = played * gradient(z, label=1.0) + skipped * gradient(z) + w * silent * gradient(z, weight=w)
    assert here == pytest.approx(0, abs=1e-12)
    odds = played / (skipped + w * silent) * w
    assert odds / (1 + odds) == pytest.approx(0.0652, abs=1e-4)


def test_a_late_positive_needs_its_example_to_have_been_kept_only_on_average() -> None:
    # f - p again, where the negatives that come first are seen at w, each standing for 1 / w, and reversals come for all
    f, p, w = 0.3, 0.08, 0.25
    z = np.log(f / (1 - f))
    assert w * gradient(z, weight=w) + p * gradient(z, sign=1.0, example=0.0) == pytest.approx(0.22, abs=1e-12)


def test_log_loss_is_the_models_number() -> None:
    p, y = np.array([0.8, 0.3, 0.2, 0.6]), np.array([1, 0, 0, 1])  # MODEL.md section 9
    assert log_loss(np.log(p / (1 - p)), y).mean() == pytest.approx(0.32844691758328565, abs=1e-12)
