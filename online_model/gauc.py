"""AUC within each user, averaged by rows: whether a user's own list is in the right order, whoever is active.

GAUC = sum n_u AUC_u / sum n_u over users with both labels. It needs rows, not sums, so rows are kept up to a cap;
past it, those of users whose hash lies below a threshold, halved as often as it takes. Which users stay depends
on who came, never on the order they came in.

Shapes: N rows, T tasks.
"""
from __future__ import annotations

import numpy as np

from online_model.mixing import sampled

Array = np.ndarray

COLUMNS = ("users", "ts", "logits", "labels", "weights")


def gauc(users: Array, logits: Array, labels: Array, weights: Array | None = None) -> tuple[float, float]:
    """(GAUC, share of rows of users without both labels) of one task; all [N]. NaN where no user has both.

    A row of weight w counts as w of them.
    """
    if not len(users):
        return float("nan"), float("nan")
    order = np.lexsort((logits, users))
    users, logits, positive = users[order], logits[order], labels[order] > 0.5
    weight = np.ones(len(users)) if weights is None else weights[order].astype(np.float64)
    new_user = np.concatenate(([True], users[1:] != users[:-1]))
    first = np.flatnonzero(new_user)
    rows = np.diff(np.append(first, len(users)))
    new_value = new_user | np.concatenate(([True], logits[1:] != logits[:-1]))
    value = np.flatnonzero(new_value)
    width = np.diff(np.append(value, len(users)))
    negative = np.where(positive, 0.0, weight)
    tied = np.add.reduceat(negative, value)  # weight of negatives of each value of a user
    n_neg = np.add.reduceat(negative, first)
    before = np.repeat(np.concatenate(([0.0], np.cumsum(n_neg)[:-1])), rows)  # of the users before
    below = np.repeat(np.cumsum(tied) - tied / 2.0, width) - before  # of a row's own user; ties count half
    n = np.add.reduceat(weight, first)
    n_pos = np.add.reduceat(np.where(positive, weight, 0.0), first)
    right = np.add.reduceat(np.where(positive, weight * below, 0.0), first)
    both = (n_pos > 0) & (n_neg > 0)
    skipped = float(n[~both].sum() / n.sum())
    if not both.any():
        return float("nan"), skipped
    auc = right[both] / (n_pos[both] * n_neg[both])
    return float((auc * n[both]).sum() / n[both].sum()), skipped


class Sample:
    """Scored rows of a sample of users: all of them while at most `cap` rows came."""

    def __init__(self, tasks: int, cap: int) -> None:
        if cap < 1:
            raise ValueError(f"rows_cap must be at least 1, got {cap}")
        self.cap, self.tasks, self.halvings, self._n = cap, tasks, 0, 0
        self._columns = self._room(min(cap, 4_096))

    def __len__(self) -> int:
        return self._n

    def add(self, users: Array, ts: Array, logits: Array, labels: Array, weights: Array) -> None:
        """Keep rows of sampled users: uint64 [N], int64 [N], [N, T], bool [N, T], [N]; a NaN logit leaves its task out."""
        keep = sampled(users, self.halvings)
        fresh = (users[keep], ts[keep], logits[keep], labels[keep], weights[keep])
        end = self._n + len(fresh[0])
        if end > len(self._columns[0]):
            grown = self._room(max(end, 2 * len(self._columns[0])))
            for old, new in zip(self._columns, grown, strict=True):
                new[: self._n] = old[: self._n]
            self._columns = grown
        for column, rows in zip(self._columns, fresh, strict=True):
            column[self._n : end] = rows
        self._n = end
        while self._n > self.cap:
            self.halvings += 1
            keep = sampled(self._columns[0][: self._n], self.halvings)
            kept = [column[: self._n][keep] for column in self._columns]
            self._n = len(kept[0])
            for column, rows in zip(self._columns, kept, strict=True):
                column[: self._n] = rows

    def read(self, start_ms: int | None = None, end_ms: int | None = None) -> list[tuple[float, float]]:
        """(GAUC, skipped share) a task, of rows with start <= ts < end (all where not given)."""
        users, ts, logits, labels, weights = (column[: self._n] for column in self._columns)
        if start_ms is not None and end_ms is not None:
            inside = np.flatnonzero((ts >= start_ms) & (ts < end_ms))
            users, logits, labels, weights = users[inside], logits[inside], labels[inside], weights[inside]
        out = []
        for task in range(self.tasks):
            there = np.isfinite(logits[:, task])
            out.append(gauc(users[there], logits[there, task], labels[there, task], weights[there]))
        return out

    def arrays(self) -> dict[str, Array]:
        """The kept rows, a column each."""
        return {name: column[: self._n].copy() for name, column in zip(COLUMNS, self._columns, strict=True)}

    def load(self, arrays: dict[str, Array], halvings: int) -> None:
        """Restore `arrays()` of a sample that was halved so often."""
        self.halvings, self._n = halvings, len(arrays["users"])
        self._columns = self._room(max(self._n, min(self.cap, 4_096)))
        for column, name in zip(self._columns, COLUMNS, strict=True):
            column[: self._n] = arrays[name]

    def _room(self, rows: int) -> tuple[Array, ...]:
        return (
            np.zeros(rows, np.uint64),
            np.zeros(rows, np.int64),
            np.zeros((rows, self.tasks), np.float32),
            np.zeros((rows, self.tasks), np.bool_),
            np.zeros(rows, np.float32),
        )
