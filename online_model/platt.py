"""Online Platt scaling: a line a task between the logit that is trained and the probability that is served.

Pairwise terms and drift spoil calibration; this repairs it without touching the order of one moment (MODEL.md section 1). The order of a
whole pass it does touch, by whatever the line sways: as stochastic gradient descent of rate .05 / sqrt(1 + n / 1000) it swayed by .06 to
.09 (standard deviation at the base rate), which cost KuaiRand before 28 April .003 of AUC and of NE. So the line is fitted by Newton steps
with what is known of it so far (the online form of Fisher scoring, with exponential forgetting), which sway by one over the root of the
information that it stands on.
Shapes: B examples, T tasks.
"""
from __future__ import annotations

import numpy as np

from online_model.saved import Saved

Array = np.ndarray

MEMORY = 20_000.0  # examples after which the information of one has faded to 1 / e; 5,000 and 50,000 differ by at most .0002 of NE there
PRIOR = 100.0  # information behind the line that changes nothing: as of 400 examples of an even task, of 100,000 of a rate of .001
SLOPE = (0.2, 5.0)


class Platt(Saved):
    """z' = a z + b a task, by one Newton step a batch."""

    saved = ("slope", "offset", "information")

    def __init__(self, tasks: int) -> None:
        self.slope = np.ones(tasks)
        self.offset = np.zeros(tasks)
        self.information = np.tile([[PRIOR], [0.0], [PRIOR]], tasks)  # [3, T]: of offset, both together, slope

    def __call__(self, z: Array) -> Array:
        """Logits [B, T] -> calibrated logits, float64."""
        return self.slope * z + self.offset

    def step(self, z: Array, base: Array, gradient: Array, importance_weight: Array) -> None:
        """Gradients [B, T] of the calibrated logits; slopes turn about the base logits [T], where most of the data lies.

        `importance_weight` [B, 1]: exposures that each example stands for, 0 of a reversal.
        """
        centred = z - base
        calibrated = self(z)
        weight = importance_weight / (2 + np.exp(calibrated) + np.exp(-calibrated))  # p (1 - p)
        seen = np.stack([weight.sum(0), (weight * centred).sum(0), (weight * centred * centred).sum(0)])
        kept = np.exp(-float(np.count_nonzero(importance_weight)) / MEMORY)
        self.information = kept * self.information + seen
        self.information[[0, 2]] += (1 - kept) * PRIOR
        by_offset, by_both, by_slope = self.information
        down, turn = gradient.sum(0), (gradient * centred).sum(0)
        whole = by_offset * by_slope - by_both * by_both
        slope = np.clip(self.slope - (by_offset * turn - by_both * down) / whole, *SLOPE)
        self.offset += -(by_slope * down - by_both * turn) / whole - (slope - self.slope) * base
        self.slope = slope
