"""What an item's momentary popularity adds to a logit: linear, standardised, without id or content, so that it can be taken away.

Wei et al., "MACR", 2010.15363, and Zhang et al., "PDA", 2105.06067, as Segue departs from them (MODEL.md section 4): popularity moves
while quality stays, so its slope is learned from changes within an item (how its inputs differ from its level, see `levels.py`);
serving replaces the effect by its mean, which is zero here.
Shapes: B examples, P inputs, T tasks.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from online_model.batch import Batch
from online_model.decay import DAY_MS, decay_factor
from online_model.features import COUNTS, POPULARITY_HALF_LIVES_H, SCOPES, TASKS
from online_model.model_settings import EFFECT_START
from online_model.saved import Saved

Array = np.ndarray

INPUTS = (*(f"popularity_{h:g}h" for h in POPULARITY_HALF_LIVES_H), "trend", "age", "exposures")
MOVED = ("full_play", "skip")  # collects, shares and dislikes follow popularity for what the item is worth
HALF_LIFE_MS = DAY_MS  # of mean and variance over exposed candidates
_CLIP = 5.0  # standard deviations
_ITEM = SCOPES.index("item")


def inputs(batch: Batch) -> Array:
    """float64 [B, P], before standardising; age unknown: as the oldest."""
    popularity = np.log1p(np.maximum(batch.popularity, 0)).astype(np.float64)
    age = np.where(batch.item_age_s >= 0, np.log1p(np.maximum(batch.item_age_s, 0) / 3600), 9.0)
    exposures = np.log1p(np.maximum(batch.counts[:, _ITEM, COUNTS.index("exposures")], 0))
    return np.concatenate([popularity, (popularity[:, :1] - popularity[:, -1:]), age[:, None], exposures[:, None]], 1)


class PopularityEffect(Saved):
    """g = standardised inputs . weights, for the tasks that popularity moves."""

    saved = ("weights", "squares", "mean", "variance", "mass", "at_ms")

    def __init__(self, rate: float, device: torch.device) -> None:
        self.rate = rate
        self.weights = torch.zeros(len(INPUTS), len(TASKS), device=device)
        self.squares = torch.full_like(self.weights, EFFECT_START)
        self.mask = torch.tensor([float(t in MOVED) for t in TASKS], device=device)
        self.mass = 0.0  # decayed count behind the moments
        self.mean, self.variance = np.zeros(len(INPUTS)), np.ones(len(INPUTS))
        self.at_ms = 0

    def standardised(self, raw: Array) -> Array:
        """float32 [B, P]: mean 0 and variance 1 over what was exposed of late."""
        return np.clip((raw - self.mean) / np.sqrt(self.variance + 1e-6), -_CLIP, _CLIP).astype(np.float32)

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised inputs [B, P] -> [B, T]."""
        return x @ self.weights

    def learn(self, x: Tensor, dz: Tensor) -> None:
        """One Adagrad step by the gradient of the logits [B, T], and by x [B, P]: what the slope is to be learned from."""
        gradient = (x.t() @ dz) * self.mask
        self.squares.addcmul_(gradient, gradient)
        self.weights.addcdiv_(gradient, self.squares.sqrt(), value=-self.rate)

    def see(self, raw: Array, now_ms: int, importance_weight: Array | None = None) -> None:
        """Move mean and variance by these exposed candidates [n, P], each standing for so many of them (one if not given)."""
        if not len(raw):
            return
        fade = decay_factor(now_ms - self.at_ms, HALF_LIFE_MS) if self.at_ms else 0.0
        self.at_ms = max(self.at_ms, now_ms)
        old = self.mass * fade
        weight = np.ones(len(raw)) if importance_weight is None else importance_weight
        n = float(weight.sum())
        self.mass = old + n
        mean = weight @ raw / n
        delta = mean - self.mean
        share = n / self.mass
        self.variance = self.variance * (1 - share) + weight @ (raw - mean) ** 2 / n * share + delta**2 * share * (1 - share)
        self.mean = self.mean + delta * share
