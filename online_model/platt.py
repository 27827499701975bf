"""Online Platt scaling: a line a task between the logit that is trained and the probability that is served.

Pairwise terms and drift spoil calibration; this repairs it without touching the order (MODEL.md section 1).
Shapes: B examples, T tasks.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray

RATE = 0.05
RATE_HALVES_N = 1_000  # rate / sqrt(1 + n / this)
SLOPE = (0.2, 5.0)


class Platt:
    """z' = a z + b a task, by one step of stochastic gradient descent a batch."""

    def __init__(self, tasks: int) -> None:
        self.slope = np.ones(tasks)
        self.offset = np.zeros(tasks)
        self.n = 0
        self.most = 1.0  # exposures that one example ever stood for

    def __call__(self, z: Array) -> Array:
        """Logits [B, T] -> calibrated logits, float64."""
        return self.slope * z + self.offset

    def step(self, z: Array, base: Array, gradient: Array, examples: int, most: float = 1.0) -> None:
        """Gradients [B, T] of the calibrated logits; slopes turn about the base logits [T], where most of the data lies.

        `most`: exposures that one of the examples stands for; the rate is a share of it, else thinned-out negatives overshoot.
        """
        self.most = max(self.most, most)
        rate = RATE / np.sqrt(1 + self.n / RATE_HALVES_N) / self.most
        centred = z - base
        slope = np.clip(self.slope - rate * (gradient * centred).sum(0), *SLOPE)
        self.offset += -rate * gradient.sum(0) - (slope - self.slope) * base
        self.slope = slope
        self.n += examples
