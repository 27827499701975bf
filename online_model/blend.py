"""How far each task trusts the deep path: a share between the linear logit and the deep one, learned online.

Each path is trained on its own loss. Trained on their sum, a deep path that has seen little adds noise to a linear one
that is already good; so the linear path leads at first, and the deep one takes over as it earns it (the idea of Sahoo et al.,
"Online Deep Learning", 1711.03705: hedge between a shallow and a deep classifier; here by gradient, a share a task).
Shapes: B examples, N domains, T tasks.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from online_model.saved import Saved

Array = np.ndarray

START = 0.2  # of the deep logit: rare tasks hardly move it, frequent ones reach 0.5 within some thousand examples
RATE = 0.05


class Blend(Saved):
    """z = linear + share * (deep - linear), the share by Adagrad within [0, 1]."""

    saved = ("share", "squares")

    def __init__(self, tasks: int) -> None:
        self.share = np.full(tasks, START)
        self.squares = np.ones(tasks)

    def __call__(self, linear: Tensor, deep: Tensor) -> Tensor:
        """Logits [B, T] of both paths -> blended, float64, where they are."""
        whole = linear.double()
        return whole + torch.from_numpy(self.share).to(linear.device, non_blocking=True) * (deep.double() - whole)

    def step(self, linear: Array, deep: Array, gradient: Array) -> None:
        """Gradients [B, T] of the blended logits, and the logits of both paths, all float64."""
        slope = (gradient * (deep - linear)).sum(0)
        self.squares += slope * slope
        self.share = np.clip(self.share - RATE * slope / np.sqrt(self.squares), 0.0, 1.0)


class CrossDomainBlend(Saved):
    """z = z + share * heard, a share by domain and task, by Adagrad within [0, 1] from 0: what has earned nothing yet moves nothing."""

    saved = ("share", "squares")

    RATE, SQUARE = 0.2, 0.01  # a share is earned within some ten steps that agree

    def __init__(self, domains: int, tasks: int) -> None:
        self.share = np.zeros((domains, tasks))
        self.squares = np.full((domains, tasks), self.SQUARE)

    def __call__(self, z: Tensor, transfer: Tensor, place: Array) -> Tensor:
        """Logits [B, T], float64, what is transferred [B, T], places of the examples' domains [B] -> logits, float64, where they are."""
        return z + torch.from_numpy(self.share[place]).to(z.device, non_blocking=True) * transfer.double()

    def step(self, transfer: Array, place: Array, gradient: Array) -> None:
        """Gradients [B, T] of the logits that it gave, and what was transferred, float64."""
        slope = np.zeros_like(self.share)
        np.add.at(slope, place, gradient * transfer)
        self.squares += slope * slope
        self.share = np.clip(self.share - self.RATE * slope / np.sqrt(self.squares), 0.0, 1.0)
