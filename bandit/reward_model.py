"""q̂: what an arm earns in a place, from the log itself, but never from the rows that it is used on.

q̂(a) = (Σr_a + 100 r̄) / (n_a + 100), r̄ the mean of the rows it is made of (MODEL.md section 8); where rows have places, times the
place's own mean over r̄, drawn to it alike. Folds are of whole requests: at random (cross-fitted), or of time, each from the blocks before
it (out of time; the first one, which has none before, from the second).
Shapes: N rows, A arms, K places, F folds.
"""
from __future__ import annotations

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


def means(arm: Array, place: Array, r: Array, arms: int, places: int, cells: bool = False) -> Array:
    """q̂ [K, A] of the rows given."""
    if not len(r):
        return np.zeros((places, arms))
    mean = float(r.mean())
    by_arm = _drawn(arm, r, arms, mean)
    if places == 1 or not mean:
        return np.repeat(by_arm[None], places, 0)
    found = np.outer(_drawn(place, r, places, mean) / mean, by_arm)
    found = np.clip(found, min(0.0, float(r.min())), float(r.max()))
    return _drawn(place * arms + arm, r, places * arms, found.ravel()).reshape(places, arms) if cells else found


def fitted(arm: Array, place: Array, r: Array, fold: Array, arms: int, places: int, by_time: bool, cells: bool = False) -> Array:
    """q̂ [F, K, A] for the rows of each fold, from rows of other folds (`by_time`: of earlier ones)."""
    out = []
    for each in range(int(fold.max()) + 1 if len(fold) else 0):
        rows = (fold < each if each else fold == 1) if by_time else fold != each
        out.append(means(arm[rows], place[rows], r[rows], arms, places, cells))
    return np.stack(out) if out else np.zeros((0, places, arms))


def _drawn(group: Array, r: Array, groups: int, mean: float | Array) -> Array:
    return (np.bincount(group, r, groups) + STRENGTH * mean) / (np.bincount(group, minlength=groups) + STRENGTH)
