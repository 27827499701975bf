"""What is believed of an item beyond the ranker: a Gaussian a task about what its logits lack, wide of what was hardly shown.

    item i, task t:  logit = z + m,   m ~ N(mean, 1 / precision);   z: the served, calibrated logit, as a given

The prior is N(0, 1 / PRECISION). An update is the online Laplace approximation of Chapelle & Li, "An Empirical Evaluation of Thompson
Sampling", NIPS 2011 (algorithm 3), diagonal: the mean goes to the posterior's mode by Newton steps over all examples of the batch, the
precision grows by importance weight x p (1 - p). Since the ranker learns the same item, and so takes over what the belief had to add,
both are drawn to the prior by event time: precision <- f precision + (1 - f) PRECISION, mean <- f mean, with f = 2^(-age / HALF_LIFE).
Predictions, and lists that explore at random, do not look at it. Shapes: B examples, U items, T tasks.
"""
from __future__ import annotations

import numpy as np
import torch

from online_model.decay import DAY_MS
from online_model.embedding import RowInit, Table
from online_model.rows import Rows

Array = np.ndarray

PRECISION = 1.0  # of a new item: one in three differs by more than e from the odds that the ranker gives it
HALF_LIFE_MS = 30 * DAY_MS
NEWTON_STEPS = 4  # each bounded by STEP: from a rate of .01 the mode after three successes is reached within 2 %
STEP = 1.0


class Beliefs:
    """Means and precisions, a row an item. They stay on the host, where lists are made; followed and saved as rows of any table."""

    def __init__(self, rows: Rows, tasks: int) -> None:
        self.tasks = tasks
        self.table = Table(rows, 2 * tasks, RowInit(spread=0.0, square=0.0, seed=0), device=torch.device("cpu"))

    def __call__(self, items: Array) -> Array:
        """Keys [B] -> float32 [B, 2, T]: means and variances."""
        rows = self.table.rows.find(items)
        mean, more = np.split(self.table.weights.numpy()[rows], 2, 1)
        return np.stack([mean, 1 / (PRECISION + more)], 1)

    def learn(self, items: Array, z: Array, labels: Array, weight: Array, sign: Array, now_ms: int) -> Array:
        """Examples [B] by calibrated logits [B, T], labels [B, T], importance weights [B, 1] (0 of a reversal) and signs of reversals
        [B, T]; keys whose belief moved or went.
        """
        there = np.flatnonzero((items != 0) & ((weight[:, 0] > 0) | (sign != 0).any(1)))
        keys, inverse = np.unique(items[there], return_inverse=True)
        z, labels, weight, sign = z[there], labels[there], weight[there], sign[there]
        table = self.table
        rows, lost = table.rows.find(keys), keys[:0]
        fade = np.exp2(np.maximum(now_ms - table.rows.used_ms[rows], 0) / -HALF_LIFE_MS)[:, None]
        table.rows.touch(rows[rows != 0], now_ms)  # before any eviction, so that none of these is evicted
        new = rows == 0
        if new.any():
            rows[new], lost = table.admit(keys[new], now_ms)
        mean, more = (part * fade for part in np.split(table.weights.numpy()[rows].astype(np.float64), 2, 1))
        before = mean
        for _ in range(NEWTON_STEPS):
            p = 1 / (1 + np.exp(-(z + mean[inverse])))
            pull = _summed(((p - labels) * weight - sign), inverse, len(keys)) + (PRECISION + more) * (mean - before)
            known = _summed(p * (1 - p) * weight, inverse, len(keys))
            mean = mean - np.clip(pull / (PRECISION + more + known), -STEP, STEP)
        kept = np.flatnonzero(rows)
        both = np.concatenate([mean, more + known], 1)[kept].astype(np.float32)
        table.weights[torch.from_numpy(rows[kept])] = torch.from_numpy(both)
        return np.concatenate([keys, lost])


def _summed(values: Array, inverse: Array, n: int) -> Array:
    """[B, T] -> [U, T], in batch order."""
    out = np.zeros((n, values.shape[1]))
    np.add.at(out, inverse, values)
    return out
