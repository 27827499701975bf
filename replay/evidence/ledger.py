"""What several models predicted for the same exposures, and the labels as they stood when each exposure's window had closed.

Kept whole, for figures with intervals are read from rows: 60 bytes an exposure and 40 more a model.
Shapes: N exposures in the order in which they were predicted, T tasks.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from online_model.batch import Batch
from online_model.features import FIELDS, TASKS, Closed, Example
from online_model.trainer import Prediction, StepReport
from streams.core.join.records import Outgoing

Array = np.ndarray

_USER, _ITEM = FIELDS.index("user"), FIELDS.index("item")
DAY_S = 86_400.0
AGES = (("item under 1 d", 0.0, DAY_S), ("1 to 7 d", DAY_S, 7 * DAY_S), ("over 7 d", 7 * DAY_S, float("inf")))


@dataclass(slots=True)
class PredictedExposures:
    """Exposures with their labels, and what was predicted for them."""

    users: Array  # uint64 [N]
    shown_ms: Array  # int64 [N]
    age_s: Array  # float64 [N] of the item: since it was published, else since this log first showed it
    labels: Array  # float64 [N, T]; NaN where the window never closed
    logits: dict[str, Array]  # model -> float32 [N, T]; NaN where it did not predict
    probabilities: dict[str, Array]
    importance_weight: Array  # float64 [N], exposures that each counts as: more than 1 where others like it were not kept

    def __len__(self) -> int:
        return len(self.users)


class Ledger:
    """Collects batches as models see them, and the closing of windows."""

    def __init__(self) -> None:
        self._rows: list[tuple[Array, ...]] = []  # ids, users, items, shown_ms, age_s
        self._predicted: dict[str, list[tuple[Array, Array, Array]]] = {}  # ids, logits, probabilities
        self._sampling_rates: dict[int, float] = {}  # of exposures, where it is below 1
        self._closed: list[tuple[list[int], list[int]]] = []

    def exposed(self, batch: Batch) -> None:
        """Remember what a batch predicts, of the model that stands for all: they all see the same exposures."""
        at = np.flatnonzero(~batch.foreseen)
        users, items, age_s = batch.fields[at, _USER], batch.fields[at, _ITEM], batch.item_age_s[at].astype(float)
        self._rows.append((batch.ids[at], users, items, batch.shown_ms[at], age_s))

    def predicted(self, name: str, batch: Batch, prediction: Prediction | StepReport) -> None:
        """Remember what a model predicted for the exposures of a batch."""
        at = np.flatnonzero(~batch.foreseen)
        logits, probabilities = (each[at].astype(np.float32) for each in (prediction.logits, prediction.probabilities))
        self._predicted.setdefault(name, []).append((batch.ids[at], logits, probabilities))

    def learned(self, records: Iterable[Outgoing]) -> None:
        """Take the labels from the records that close windows, and from examples how many exposures each counts as."""
        for out in records:
            if isinstance(out.record, Closed):
                self._closed.append((out.record.ids, out.record.labels))
            elif isinstance(out.record, Example) and out.record.sampling_rate < 1:
                self._sampling_rates[out.record.id] = out.record.sampling_rate

    def exposures(self) -> PredictedExposures:
        """All of it as columns."""
        tasks = len(TASKS)
        if not self._rows:
            return PredictedExposures(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, tasks)), {}, {}, np.zeros(0))
        ids, users, items, shown_ms, age_s = (np.concatenate(column) for column in zip(*self._rows, strict=True))
        order = np.argsort(ids, kind="stable")

        def places(keys: Array) -> tuple[Array, Array]:
            """Which of the keys have a row, and which row."""
            at = order[np.minimum(np.searchsorted(ids[order], keys), len(ids) - 1)]
            there = ids[at] == keys
            return there, at[there]

        labels = np.full((len(ids), tasks), np.nan)
        closed = np.array([i for some, _ in self._closed for i in some], np.uint64)
        masks = np.array([mask for _, some in self._closed for mask in some], np.int64)
        there, at = places(closed)
        labels[at] = (masks[there, None] >> np.arange(tasks)) & 1
        importance_weight = np.ones(len(ids))
        there, at = places(np.array(list(self._sampling_rates), np.uint64))
        importance_weight[at] = 1 / np.array(list(self._sampling_rates.values()), float)[there]
        logits: dict[str, Array] = {}
        probabilities: dict[str, Array] = {}
        for name, parts in self._predicted.items():
            keys, z, p = (np.concatenate(column) for column in zip(*parts, strict=True))
            there, at = places(keys)
            for columns, values in ((logits, z), (probabilities, p)):
                columns[name] = np.full((len(ids), tasks), np.nan, np.float32)
                columns[name][at] = values[there]
        return PredictedExposures(users, shown_ms, _ages(items, shown_ms, age_s), labels, logits, probabilities, importance_weight)


def _ages(items: Array, shown_ms: Array, age_s: Array) -> Array:
    _, item = np.unique(items, return_inverse=True)
    first = np.full(item.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, item, shown_ms)
    return np.where(age_s >= 0, age_s, (shown_ms - first[item]) / 1000.0)
