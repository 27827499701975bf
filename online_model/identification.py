"""Whether what popularity adds can be told from what an item is worth: only popularity that moves within items says (MODEL.md section 4).

R^2 of log popularity on the item's id, a half-life: the share of its variance that lies between items, 1 - within / total, over the
exposures of late. Near 1, each item has its one level, and the popularity effect is known by accident only.

Items are kept up to a cap; past it, those whose hash lies below a threshold, halved as often as it takes (as the users in gauc.py).
Shapes: N rows, P half-lives, I items.
"""
from __future__ import annotations

import numpy as np

from online_model.decay import DAY_MS
from online_model.features import POPULARITY_HALF_LIVES_H
from online_model.mixing import sampled
from online_model.saved import Saved

Array = np.ndarray

UNIDENTIFIED = 0.98  # above it even where popularity moves most
ITEMS = 4_096
HALF_LIFE_MS = DAY_MS  # of a row's weight, as of the effect's mean and variance
ENOUGH = 1_000.0  # rows, by weight, before anything is said against it
_RESCALE = 64  # half-lives after which sums are scaled back
_FORGOTTEN = 2.0**-40  # weight of an item that leaves then
_P = len(POPULARITY_HALF_LIVES_H)


class Identification(Saved):
    """Decayed sums of rows, of log popularity and of its squares, an item."""

    saved = ("keys", "sums")
    packed = {"place": ("halvings", "zero_ms", "newest_ms")}

    def __init__(self, cap: int = ITEMS) -> None:
        self.cap, self.halvings, self.zero_ms, self.newest_ms = cap, 0, 0, 0
        self.keys = np.zeros(0, np.uint64)  # [I], rising
        self.sums = np.zeros((0, 1 + 2 * _P))  # weights 2^((t - zero) / half-life): only new rows cost anything

    def see(self, items: Array, popularity: Array, importance_weight: Array, now_ms: int) -> None:
        """Exposed items [N], their decayed counts [N, P], and how many exposures each row stands for [N]."""
        kept = sampled(items, self.halvings) & (items != 0)
        if not kept.any():
            return
        self.newest_ms = max(self.newest_ms, now_ms)
        self._rescale()
        level = np.log1p(np.maximum(popularity[kept], 0)).astype(np.float64)
        weight = importance_weight[kept] * 2.0 ** ((self.newest_ms - self.zero_ms) / HALF_LIFE_MS)
        rows = weight[:, None] * np.concatenate([np.ones((len(level), 1)), level, level * level], 1)
        new = np.setdiff1d(items[kept], self.keys)
        if len(new):
            at = np.searchsorted(self.keys, new)
            self.keys, self.sums = np.insert(self.keys, at, new), np.insert(self.sums, at, 0.0, axis=0)
        np.add.at(self.sums, np.searchsorted(self.keys, items[kept]), rows)
        while len(self.keys) > self.cap:
            self.halvings += 1
            self._keep(sampled(self.keys, self.halvings))

    def read(self) -> list[float]:
        """R^2 a half-life; NaN where nothing was seen or nothing varies."""
        n, s, q = self.sums[:, :1], self.sums[:, 1 : 1 + _P], self.sums[:, 1 + _P :]
        with np.errstate(divide="ignore", invalid="ignore"):
            total = q.sum(0) - s.sum(0) ** 2 / n.sum()
            within = (q - s * s / n).sum(0)
            flat = total <= 1e-9 * q.sum(0)
            out: Array = np.where(flat, np.nan, np.clip(1 - within / total, 0.0, 1.0))
        return [float(value) for value in out]

    @property
    def rows(self) -> float:
        """Rows by their weight now."""
        return float(self.sums[:, 0].sum() * 2.0 ** ((self.zero_ms - self.newest_ms) / HALF_LIFE_MS))

    def unidentified(self) -> bool:
        """Whether to warn: enough was seen, and at no half-life does popularity move within items."""
        return self.rows >= ENOUGH and not min(self.read(), default=1.0) <= UNIDENTIFIED

    def _rescale(self) -> None:
        step = _RESCALE * HALF_LIFE_MS
        zero = self.newest_ms // step * step
        if zero > self.zero_ms:
            self.sums *= 2.0 ** max((self.zero_ms - zero) // HALF_LIFE_MS, -1_000)
            self.zero_ms = zero
            self._keep(self.sums[:, 0] > _FORGOTTEN)

    def _keep(self, which: Array) -> None:
        self.keys, self.sums = self.keys[which], self.sums[which]
