"""What each example asks of its logits: the gradient of binary cross-entropy, or a reversal's constant.

Shapes: B examples, T tasks.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Array = np.ndarray


def logit_gradient(z: Tensor, labels: Tensor, sign: Tensor, is_example: Tensor, log_weight: Tensor) -> Tensor:
    """d loss / d z [B, T]. An example: BCE on z - ln w (kept share w). A reversal: -sign, the late label's correction.

    At a late positive BCE(1) - BCE(0) is added, whose gradient is (p - 1) - p = -1 wherever z stands (MODEL.md section 7).
    """
    return (torch.sigmoid(z - log_weight) - labels) * is_example - sign


def pair_loss(s: Tensor, better: Tensor, worse: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean of softplus(-(s_better - s_worse)): scores [B], rows and weights of pairs [Q]; 0 where there are none."""
    return (weight * functional.softplus(s[worse] - s[better])).sum() / weight.sum().clamp(min=1e-12)


def log_loss(z: Array, labels: Array) -> Array:
    """Binary cross-entropy of logits, element by element."""
    return np.logaddexp(0, z) - labels * z
