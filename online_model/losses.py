"""What each example asks of its logits: the gradient of binary cross-entropy, or a reversal's constant.

Shapes: B examples, T tasks.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Array = np.ndarray


def logit_gradient(z: Tensor, labels: Tensor, sign: Tensor, importance_weight: Tensor) -> Tensor:
    """d loss / d z [B, T]. An example: BCE, as often as there were exposures like it. A reversal: -sign, the late label's correction.

    `importance_weight` [B, 1]: 1 / w of an example whose like is kept at a share w, 0 of a reversal. What was left out is thus made up
    for whatever else a list holds: with kept negatives alone, a rate of q is learned as q / (q + (1 - q) / w) (MODEL.md section 7).
    Training on z - ln w, its other form, ends there too, but only where *every* negative of a task is thinned out: with skips
    that are all kept it misses (tests/online_model/test_losses.py).
    At a late positive BCE(1) - BCE(0) is added, whose gradient is (p - 1) - p = -1 wherever z stands (MODEL.md section 7); it comes
    for exposures that were left out as well, and therefore once.
    """
    return (torch.sigmoid(z) - labels) * importance_weight - sign


def pair_loss(s: Tensor, better: Tensor, worse: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of softplus(-(s_better - s_worse)): scores [B], rows and weights of pairs [Q]; 0 where there are none."""
    return (weight * functional.softplus(s[worse] - s[better])).sum() / weight.sum().clamp(min=1e-12)


def log_loss(z: Array, labels: Array) -> Array:
    """Binary cross-entropy of logits, element by element."""
    return np.logaddexp(0, z) - labels * z
