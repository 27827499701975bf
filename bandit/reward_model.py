"""q̂: what an arm earns at a position, from the log itself, but never from the rows that it is used on.

q̂(a) = (Σr_a + 100 r̄) / (n_a + 100), r̄ the mean of the rows it is made of (MODEL.md section 8); where rows have positions, times the
position's own mean over r̄, drawn to it alike. Folds are of whole requests: at random (cross-fitted), or blocks of time, each predicted
from the blocks before it (the first one, which has none before, from the second).
Shapes: N rows, A arms, K positions, F folds.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Array = np.ndarray

STRENGTH = 100.0  # rows that a mean is drawn to the overall one with
FOLDS = 5  # cross-fitted: each from four fifths
BLOCKS = 20  # of time: what a row is judged by is at most a twentieth of the log old


def random_folds(cluster: Array, seed: int) -> Array:
    """Fold of each row [N], the same for a request."""
    n = int(cluster.max()) + 1 if len(cluster) else 0
    return (np.random.default_rng(seed).permutation(n) % FOLDS)[cluster]


def time_blocks(cluster: Array, order: Array) -> Array:
    """Block of each row [N]; `order` [N] grows with time, and a request stands where its first row does."""
    n = int(cluster.max()) + 1 if len(cluster) else 0
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, cluster, order)
    rank = np.empty(n, np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(n)
    return (rank * BLOCKS // max(1, n))[cluster]


@dataclass(frozen=True, slots=True)
class LoggedRewards:
    """What each row of a log earned, with which arm at which position."""

    arm: Array  # [N], below `arms`
    position: Array  # [N], below `positions`
    reward: Array  # [N]
    arms: int
    positions: int = 1

    def of(self, rows: Array) -> LoggedRewards:
        """Some of the rows: a mask [N], or their numbers."""
        return LoggedRewards(self.arm[rows], self.position[rows], self.reward[rows], self.arms, self.positions)


def means(log: LoggedRewards, cells: bool = False) -> Array:
    """q̂ [K, A] of the rows given; `cells`: each pair of position and arm has a mean of its own, drawn to the product."""
    arms, positions, r = log.arms, log.positions, log.reward
    if not len(r):
        return np.zeros((positions, arms))
    mean = float(r.mean())
    by_arm = _drawn(log.arm, r, arms, mean)
    if positions == 1 or not mean:
        return np.repeat(by_arm[None], positions, 0)
    product = np.outer(_drawn(log.position, r, positions, mean) / mean, by_arm)
    product = np.clip(product, min(0.0, float(r.min())), float(r.max()))
    return _drawn(log.position * arms + log.arm, r, positions * arms, product.ravel()).reshape(positions, arms) if cells else product


def fitted(log: LoggedRewards, fold: Array, by_time: bool, cells: bool = False) -> Array:
    """q̂ [F, K, A] for the rows of each fold [N], from rows of other folds (`by_time`: of earlier ones)."""
    out = []
    for each in range(int(fold.max()) + 1 if len(fold) else 0):
        out.append(means(log.of((fold < each if each else fold == 1) if by_time else fold != each), cells))
    return np.stack(out) if out else np.zeros((0, log.positions, log.arms))


def _drawn(group: Array, r: Array, groups: int, mean: float | Array) -> Array:
    return (np.bincount(group, r, groups) + STRENGTH * mean) / (np.bincount(group, minlength=groups) + STRENGTH)
