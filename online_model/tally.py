"""Mergeable sums over scored rows, and the figures read from them: AUC, log loss, NE, RIG, COPC, ECE.

A tally is a histogram over the logit per task (negatives, positives, predicted probability) and a sum of losses.
Tallies add up, so a window, a fading figure and the whole run differ only in the rows and weights that went in.
AUC from 2,000 bins of the logit is within 1e-3 of the exact one; bins of equal *probability* are not: rare tasks
crowd into the first (MODEL.md section 9).

Shapes: N rows, T tasks.
"""
from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np

Array = np.ndarray

BINS = 2_000
LOGIT_RANGE = 15.0  # logits are clipped there (MODEL.md section 7)
ECE_BINS = 20
LEAST_P = 1e-7  # probabilities are float32: an exact 0 or 1 would make the loss of one row infinite
NEGATIVE, POSITIVE, PREDICTED = range(3)


class TaskMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one task; NaN (null in JSON) where undefined, as is an AUC without both labels."""

    n: float
    positives: float
    auc: float
    logloss: float
    ne: float  # log loss / entropy of the base rate of the same rows
    rig: float  # 1 - ne
    copc: float  # clicks over predicted clicks: sum of labels / sum of probabilities
    ece: float  # over 20 bins of equal mass along the logit
    gauc: float = float("nan")  # AUC within a user, weighted by rows
    gauc_skipped: float = float("nan")  # share of rows of users without both labels


@dataclass(slots=True)
class Scored:
    """Rows as a tally takes them: positions in its histogram, and what is added there."""

    cell: Array  # int64 [N, T] of the row's label
    predicted_cell: Array  # int64 [N, T]
    probability: Array  # float64 [N, T]; 0 where the entry doesn't count
    loss: Array  # float64 [N, T]; 0 where the entry doesn't count
    counts: Array  # float64 [N, T]; 1, or 0 where logit, probability or label isn't finite

    def take(self, rows: Array | slice) -> Scored:
        """Some of the rows."""
        return Scored(self.cell[rows], self.predicted_cell[rows], self.probability[rows], self.loss[rows], self.counts[rows])


def scored(logits: Array, probabilities: Array, labels: Array) -> Scored:
    """Logits, probabilities and labels (0 or 1), all [N, T], made ready for any number of tallies."""
    z, p, y = np.asarray(logits, np.float64), np.asarray(probabilities, np.float64), np.asarray(labels, np.float64)
    counts = np.isfinite(z) & np.isfinite(p) & np.isfinite(y)
    positive = counts & (y > 0.5)
    z = np.where(counts, z, 0.0)
    p = np.clip(np.where(counts, p, 0.5), LEAST_P, 1.0 - LEAST_P)
    bins = np.clip(((z + LOGIT_RANGE) * (BINS / (2 * LOGIT_RANGE))).astype(np.int64), 0, BINS - 1)
    base = np.arange(z.shape[1], dtype=np.int64) * (3 * BINS) + bins
    loss = np.where(counts, -np.log(np.where(positive, p, 1.0 - p)), 0.0)
    return Scored(base + positive * BINS, base + PREDICTED * BINS, np.where(counts, p, 0.0), loss, counts.astype(np.float64))


@dataclass(slots=True)
class Tally:
    """Sums of T tasks."""

    histogram: Array  # float64 [T, 3, BINS]: weight of negatives, of positives, sum of probabilities
    loss: Array  # float64 [T]

    @classmethod
    def empty(cls, tasks: int) -> Tally:
        """Of no rows yet."""
        return cls(np.zeros((tasks, 3, BINS)), np.zeros(tasks))

    def add(self, rows: Scored, weight: Array | None = None) -> None:
        """Add rows, each with its weight [N] (1 if not given). One after the other: in two calls or in one, the same bytes."""
        counts, probability, loss = rows.counts, rows.probability, rows.loss
        if weight is not None:
            counts, probability, loss = (column * weight[:, None] for column in (counts, probability, loss))
        flat = self.histogram.reshape(-1)
        np.add.at(flat, rows.cell.ravel(), counts.ravel())
        np.add.at(flat, rows.predicted_cell.ravel(), probability.ravel())
        np.add.at(self.loss, np.tile(np.arange(len(self.loss)), len(loss)), loss.ravel())

    def scale(self, factor: float) -> None:
        """Multiply the weight of every row so far."""
        self.histogram *= factor
        self.loss *= factor

    def read(self) -> list[TaskMetrics]:
        """The figures, one a task."""
        negatives, positives = self.histogram[:, NEGATIVE], self.histogram[:, POSITIVE]
        n_neg, n_pos = negatives.sum(axis=1), positives.sum(axis=1)
        predicted = self.histogram[:, PREDICTED].sum(axis=1)
        n = n_neg + n_pos
        with np.errstate(divide="ignore", invalid="ignore"):
            below = np.cumsum(negatives, axis=1) - 0.5 * negatives  # ties count half
            auc = (positives * below).sum(axis=1) / (n_pos * n_neg)
            logloss = self.loss / n
            base = n_pos / n
            ne = np.where((n_pos > 0) & (n_neg > 0), logloss / -(base * np.log(base) + (1 - base) * np.log1p(-base)), np.nan)
            copc = np.where(n > 0, n_pos / predicted, np.nan)
        ece = self._ece(n)
        columns = zip(n, n_pos, auc, logloss, ne, 1.0 - ne, copc, ece, strict=True)
        names = ("n", "positives", "auc", "logloss", "ne", "rig", "copc", "ece")
        return [TaskMetrics(**dict(zip(names, map(float, row), strict=True))) for row in columns]

    def _ece(self, n: Array) -> Array:
        """Mean gap between predicted and true rate, over groups of neighbouring bins that hold 1/20 of the rows each."""
        mass = self.histogram[:, NEGATIVE] + self.histogram[:, POSITIVE]
        gap = self.histogram[:, POSITIVE] - self.histogram[:, PREDICTED]
        with np.errstate(invalid="ignore"):
            middle = (np.cumsum(mass, axis=1) - 0.5 * mass) / n[:, None]
            group = np.minimum(np.nan_to_num(middle * ECE_BINS).astype(np.int64), ECE_BINS - 1)
            group += np.arange(len(n))[:, None] * ECE_BINS
            sums = np.bincount(group.ravel(), gap.ravel(), minlength=len(n) * ECE_BINS).reshape(len(n), ECE_BINS)
            ece: Array = np.abs(sums).sum(axis=1) / n
        return ece
