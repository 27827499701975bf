"""An item's level: what the popularity effect's inputs were on average when the item was shown.

What an item was played while it was popular stays in its rates. The level tells how much of a rate that is, so that it can be taken
off; and the effect is learned from how an item's inputs differ from its level, never from how items differ: the within estimator of
panel data (Mundlak, "On the pooling of time series and cross section data", Econometrica 1978; MODEL.md section 4, "within-item
changes"). Quality, which stays, is then not taken for popularity, nor popularity for quality.
Shapes: B examples, U distinct items, P inputs.
"""
from __future__ import annotations

import numpy as np
import torch

from online_model.decay import HOUR_MS
from online_model.embedding import RowInit, Table
from online_model.popularity import RATE_HALF_LIFE_H
from online_model.rows import Rows

Array = np.ndarray

HALF_LIFE_MS = RATE_HALF_LIFE_H * HOUR_MS  # as of the counts that an item's rates are made of


class Levels:
    """Decayed means over exposures, a row an item. They stay on the host, where features are made.

    In the table, whose rows are followed and saved as any other's, the place of a row's square has the weight behind its mean.
    """

    def __init__(self, rows: Rows, inputs: int) -> None:
        self.table = Table(rows, inputs, RowInit(spread=0.0, square=0.0, seed=0), device=torch.device("cpu"))

    def __call__(self, items: Array) -> tuple[Array, Array]:
        """Keys [B] -> levels float32 [B, P], zeros where nothing is known, and whether it is [B, 1]."""
        rows = self.table.rows.find(items)
        return self.table.weights.numpy()[rows], (rows != 0)[:, None]

    def see(self, items: Array, inputs: Array, importance_weight: Array, now_ms: int) -> Array:
        """Exposures [B] of items, each standing for so many, with inputs [B, P]; keys whose level moved or went."""
        there = np.flatnonzero(items)
        keys, inverse = np.unique(items[there], return_inverse=True)
        weight = np.bincount(inverse, importance_weight[there], len(keys))
        sums = np.zeros((len(keys), inputs.shape[1]))
        np.add.at(sums, inverse, importance_weight[there, None] * inputs[there])
        table = self.table
        rows, lost = table.rows.find(keys), keys[:0]
        fade = np.exp2(np.maximum(now_ms - table.rows.used_ms[rows], 0) / -HALF_LIFE_MS)
        table.rows.touch(rows[rows != 0], now_ms)  # before any eviction, so that none of these is evicted
        new = rows == 0
        if new.any():
            rows[new], lost = table.admit(keys[new], now_ms)
        kept = np.flatnonzero(rows)
        at, levels, behind = rows[kept], table.weights.numpy(), table.squares.numpy()[:, 0]
        total = behind[at] * fade[kept] + weight[kept]
        levels[at] += (sums[kept] - weight[kept, None] * levels[at]) / total[:, None]
        behind[at] = total
        return np.concatenate([keys, lost])
