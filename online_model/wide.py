"""The linear path beside the deep one: a weight a task for every id, for chosen pairs of ids, and for every number.

Cheng et al., "Wide & Deep", 1606.07792. A pair's key is made by mixing the keys of its two ids, so nothing is enumerated.
A linear learner leads a deep one for the first tens of thousands of rows; this is what a fast start is made of.
Shapes: B examples, C columns (fields, then bags), P pairs, M numbers, T tasks.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from online_model.features import BAG_LIMIT, BAGS, FIELDS, SCOPES, TASKS
from online_model.mixing import mixed
from online_model.model_settings import NUMBER_LIFTS, NUMBER_START
from online_model.numeric import WIDTH
from online_model.saved import Saved

Array = np.ndarray

PAIRS = (
    ("user", "item"),
    ("user", "artist"),
    ("user", "category"),
    ("user", "domain"),
    ("domain", "item"),
    ("domain", "category"),
    ("domain", "user_attributes"),
    ("category", "user_attributes"),
    ("user", "item_features"),
    ("domain", "item_features"),
)

_COLUMNS = {name: [at] for at, name in enumerate(FIELDS)} | {
    name: [len(FIELDS) + BAG_LIMIT * at + slot for slot in range(BAG_LIMIT)] for at, name in enumerate(BAGS)
}


class PairKeys:
    """Columns [B, C] -> columns and pairs [B, C + P]."""

    def __init__(self, pairs: tuple[tuple[str, str], ...] = PAIRS) -> None:
        crossed = [(a, b, 1 + at) for at, (left, right) in enumerate(pairs) for a in _COLUMNS[left] for b in _COLUMNS[right]]
        self._left, self._right, salts = (np.array(part, np.int64) for part in zip(*crossed, strict=True))
        self._salt = mixed(salts.astype(np.uint64))

    def __call__(self, columns: Array) -> Array:
        left, right = columns[:, self._left], columns[:, self._right]
        keys = mixed(mixed(left + self._salt) ^ right)
        keys[(left == 0) | (right == 0)] = 0  # half a pair is none
        return np.concatenate([columns, keys], axis=1)


def present(keys: Array) -> Array:
    """Of keys [B, C + P] the columns that some example of the batch has; of none the first."""
    there = np.flatnonzero(keys.any(0))
    return keys[:, there] if len(there) else keys[:, :1]


LEAST_SQUARE = 1e-30  # after years without an example squares would be 0, and a step without a gradient 0 / 0


class NumberWeights(Saved):
    """A weight a task for every number [M, T], by Adagrad an element.

    They start as naive Bayes: a user's and an item's own lift (the first numbers, see `numeric.py`) count nearly in full.
    """

    saved = ("weights", "squares")

    def __init__(self, rate: float, device: torch.device) -> None:
        weights = np.zeros((WIDTH, len(TASKS)), np.float32)
        for scope, lift in zip(range(len(SCOPES)), NUMBER_LIFTS, strict=True):
            weights[scope * len(TASKS) + np.arange(len(TASKS)), np.arange(len(TASKS))] = lift
        self.rate = rate
        self.weights = torch.from_numpy(weights).to(device)
        self.squares = torch.full_like(self.weights, NUMBER_START)
        self.mask: Tensor | None = None  # [M, T], 0 where a number has no say in a task

    def __call__(self, numbers: Tensor) -> Tensor:
        """[B, M] -> logits [B, T]."""
        return numbers @ self.weights

    def learn(self, numbers: Tensor, dz: Tensor, fade: float) -> None:
        """One step, given the gradient of the logits [B, T]; old squares keep this share."""
        gradient = numbers.t() @ dz
        if self.mask is not None:
            gradient *= self.mask
        self.squares.mul_(fade).clamp_(min=LEAST_SQUARE).addcmul_(gradient, gradient)
        self.weights.addcdiv_(gradient, self.squares.sqrt(), value=-self.rate)
