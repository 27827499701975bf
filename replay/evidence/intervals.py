"""Intervals of figures over scored rows, and of differences between models, by a bootstrap of users.

Rows of one user are alike, so users are drawn, not rows (a cluster bootstrap; Field and Welsh, JRSS B 2007): a resample gives a user
the weight with which it was drawn, and every figure is read again with these weights. All figures of one call see the same draws,
so the interval of a difference is a paired one. Percentiles, 95 %.

A row counts in every figure by its importance weight, where others like it were not kept: an estimate of the figure of all of them
(Horvitz and Thompson, JASA 1952).

Shapes: N rows, U users, R resamples.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bandit.bootstrap import Interval
from online_model.gauc import gauc as gauc_of
from online_model.tally import LEAST_P

Array = np.ndarray
Figure = Callable[[Array], float]  # weights of users [U] -> the figure; NaN where it is undefined

RESAMPLES = 1_000  # an end of the interval is then 1 % of its width off or so
SEED = 1


class Users:
    """The users of N rows, and how often each is drawn."""

    def __init__(self, keys: Array, importance_weight: Array | None = None) -> None:
        """`keys`: the user of each row [N]; `importance_weight`: as how many rows each counts [N], 1 if not given."""
        found, self.of_row = np.unique(keys, return_inverse=True)
        self.n = len(found)
        self.importance_weight = np.ones(len(keys)) if importance_weight is None else importance_weight

    def sums(self, *columns: Array) -> Array:
        """Columns [N], times as how many rows each counts, summed by user -> [U, columns]."""
        return np.stack([np.bincount(self.of_row, column * self.importance_weight, self.n) for column in columns], 1)

    def read(self, figures: Sequence[Figure], resamples: int = RESAMPLES, seed: int = SEED) -> Array:
        """[1 + R, figures]: first as the rows are, then by resample; of one user all resamples are alike, which says nothing: NaN."""
        rng = np.random.default_rng(seed)
        out = np.full((1 + resamples, len(figures)), np.nan)
        for r in range(1 + resamples if self.n > 1 else 1):
            weights = np.bincount(rng.integers(self.n, size=self.n), minlength=self.n).astype(float) if r else np.ones(self.n)
            out[r] = [figure(weights) for figure in figures]
        return out

    def auc(self, scores: Array, labels: Array) -> Figure:
        """Of scores [N] for labels [N], exact, ties half.

        >>> Users(np.array([1, 1, 2])).auc(np.array([0.2, 0.1, 0.3]), np.array([1.0, 0.0, 0.0]))(np.ones(2))
        0.5
        """
        order = np.argsort(scores, kind="stable")
        ordered, positive, user = scores[order], labels[order] > 0.5, self.of_row[order]
        low, high = (np.searchsorted(ordered, ordered[positive], side) for side in ("left", "right"))  # its ties begin, end there
        counts = self.importance_weight[order]
        negatives, positives, so_many = counts * ~positive, user[positive], counts[positive]

        def figure(weights: Array) -> float:
            below = np.concatenate(([0.0], np.cumsum(weights[user] * negatives)))
            each = weights[positives] * so_many
            pairs = each.sum() * below[-1]
            return float((each * (below[low] + below[high])).sum() / (2 * pairs)) if pairs > 0 else float("nan")

        return figure

    def gauc(self, scores: Array, labels: Array) -> Figure:
        """AUC within each user, weighted by rows."""
        order = np.argsort(self.of_row, kind="stable")
        cuts = np.searchsorted(self.of_row[order], np.arange(self.n + 1))
        positives = np.bincount(self.of_row, labels > 0.5, self.n)
        both = np.flatnonzero((positives > 0) & (positives < np.diff(cuts)))
        rows = np.bincount(self.of_row, self.importance_weight, self.n)
        each = np.zeros(self.n)
        for user in both.tolist():
            own = order[cuts[user] : cuts[user + 1]]
            each[user] = gauc_of(np.zeros(len(own)), scores[own], labels[own], self.importance_weight[own])[0]
        return _ratio(np.stack([each[both] * rows[both], rows[both]], 1), both)

    def ne(self, probabilities: Array, labels: Array) -> Figure:
        """Log loss over the entropy of the rows' base rate."""
        p = np.clip(probabilities.astype(float), LEAST_P, 1 - LEAST_P)
        sums = self.sums(-np.where(labels > 0.5, np.log(p), np.log1p(-p)), labels, np.ones(len(p)))

        def figure(weights: Array) -> float:
            loss, positives, rows = weights @ sums
            if not 0 < positives < rows:
                return float("nan")
            base = positives / rows
            return float(loss / rows / -(base * np.log(base) + (1 - base) * np.log1p(-base)))

        return figure

    def copc(self, probabilities: Array, labels: Array) -> Figure:
        """What happened over what was predicted."""
        return _ratio(self.sums(labels, probabilities))

    def mean(self, values: Array) -> Figure:
        """Of a column [N]."""
        return _ratio(self.sums(values, np.ones(len(values))))

    def top(self, scores: Array, labels: Array, share: float) -> Figure:
        """Mean label of the share of each user's rows that is scored highest (rows until it is reached; ties in order of rows)."""
        order = np.lexsort((-scores, self.of_row))
        rows, count = np.bincount(self.of_row, self.importance_weight, self.n), np.bincount(self.of_row, minlength=self.n)
        counts = self.importance_weight[order]
        before = np.cumsum(counts) - counts - np.repeat(np.cumsum(rows) - rows, count)  # of the user's rows, what is scored higher
        chosen = order[before < share * rows[self.of_row[order]]]
        mask = np.zeros(len(order))
        mask[chosen] = 1.0
        return _ratio(self.sums(mask * labels, mask))


def _ratio(sums: Array, users: Array | None = None) -> Figure:
    """Sum of the first column over sum of the second, of sums by user (all of them, or those named)."""

    def figure(weights: Array) -> float:
        numerator, denominator = (weights if users is None else weights[users]) @ sums
        return float(numerator / denominator) if denominator > 0 else float("nan")

    return figure


def interval(values: Array) -> Interval:
    """Of a column of `Users.read` [1 + R], or of one column less another: resample by resample, so paired."""
    drawn = values[1:][np.isfinite(values[1:])]  # a resample without a positive says nothing
    low, high = np.percentile(drawn, (2.5, 97.5)) if len(drawn) else (float("nan"), float("nan"))
    return Interval(float(values[0]), float(low), float(high))
