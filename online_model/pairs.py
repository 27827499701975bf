"""Ordered pairs within one slate: which act a listener perceives as better, and how much each kind of pair counts.

Tiers (MODEL.md section 1): 3 collect or share, 2 full play, 1 partial play, 0 skip, dislike, seen without play; a dislike forces 0.
Only within a slate: what all its items share (mood, hour, device) cancels there, across slates it would teach who is active. A slate is
compared once, when it has closed: an act that comes later still corrects its own task, not the pairs.
Shapes: B rows, Q pairs, T tasks.
"""
from __future__ import annotations

import numpy as np

from online_model.decay import DAY_MS, decay_factor
from online_model.features import TASKS
from online_model.saved import Saved

Array = np.ndarray

TIERS = 4
PARTIAL_PLAY = 1 << len(TASKS)  # a bit behind those of the tasks: no label, but a tier
PER_SLATE = 64
HALF_LIFE_MS = DAY_MS
WEIGHTS = (1 / 3, 3.0)  # rare kinds of pairs count at most, frequent ones at least this much
_FULL, _COLLECT, _SHARE, _DISLIKE = (1 << TASKS.index(t) for t in ("full_play", "collect", "share", "dislike"))


def tiers(labels: Array) -> Array:
    """Label masks [n] -> tiers int64 [n]."""
    out = np.where(labels & PARTIAL_PLAY, 1, 0)
    out = np.where(labels & _FULL, 2, out)
    out = np.where(labels & (_COLLECT | _SHARE), 3, out)
    return np.where(labels & _DISLIKE, 0, out)


TIER_OF: tuple[int, ...] = tuple(tiers(np.arange(2 * PARTIAL_PLAY)).tolist())  # of every mask that there is


def pairs(tier: Array, slate: Array, seed: int) -> tuple[Array, Array]:
    """Rows (better, worse), each int64 [Q]: all of the same slate and unequal tier, at most PER_SLATE a slate, drawn by seed from each
    kind of pair in turn.

    `slate` [B]: the slate of each row, -1 = in none.
    """
    i, j = np.nonzero((slate[:, None] == slate) & (slate >= 0)[:, None] & (tier[:, None] > tier))
    counts = np.bincount(slate[i]) if len(i) else np.zeros(0, np.int64)
    if len(counts) and counts.max() > PER_SLATE:
        lot = np.random.default_rng(seed).random(len(i))
        kind = (slate[i] * TIERS + tier[i]) * TIERS + tier[j]
        order = np.lexsort((lot, kind))
        turn = np.empty(len(i), np.int64)  # the how manieth of its kind
        turn[order] = np.arange(len(i)) - np.searchsorted(kind[order], kind[order])
        order = np.lexsort((lot, turn, slate[i]))
        starts = np.concatenate([[0], np.cumsum(counts)])[slate[i[order]]]
        kept = np.sort(order[np.arange(len(i)) - starts < PER_SLATE])
        i, j = i[kept], j[kept]
    return i, j


class TierWeights(Saved):
    """omega: the square root of how rare a kind of pair has been of late, clipped, such that the mean weight is 1."""

    saved = ("counts", "at_ms")

    def __init__(self, exponent: float = 0.5) -> None:
        self.exponent = exponent
        self.counts = np.zeros((TIERS, TIERS))
        self.at_ms = 0

    def __call__(self, better: Array, worse: Array) -> Array:
        """Tiers [Q] of both sides -> weights float32 [Q], by the counts so far."""
        n = self.counts[self.counts > 0]
        if not len(n):
            return np.ones(len(better), np.float32)
        omega = np.clip((n.mean() / np.maximum(self.counts, 1e-9)) ** self.exponent, *WEIGHTS)
        omega *= self.counts.sum() / (self.counts * omega).sum()
        return omega[better, worse].astype(np.float32)

    def add(self, better: Array, worse: Array, now_ms: int) -> None:
        """Count pairs by the tiers [Q] of both sides."""
        if len(better):
            self.counts *= decay_factor(now_ms - self.at_ms, HALF_LIFE_MS) if self.at_ms else 1.0
            self.at_ms = max(self.at_ms, now_ms)
            np.add.at(self.counts, (better, worse), 1)
