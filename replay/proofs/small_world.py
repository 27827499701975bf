"""What the small worlds of the proofs share: keys of their ids, batches of their exposures, the order a model gives.

Shapes: B exposures, T tasks.
"""
from __future__ import annotations

import numpy as np

from online_model.batch import Batch
from online_model.features import BAG_LIMIT, BAGS, COUNTS, DOMAIN_LIMIT, FIELDS, POPULARITY_HALF_LIVES_H, SCOPES, TASKS
from online_model.mixing import mixed

Array = np.ndarray

START_MS = 1_735_689_600_000  # 2025-01-01, UTC


def keys(field: str, numbers: Array) -> Array:
    """64-bit keys of a field's ids, uint64 in the shape of `numbers`."""
    salt = mixed(np.array([1 + FIELDS.index(field)], np.uint64))[0]
    return mixed(numbers.astype(np.uint64) + salt)


def column(field: str) -> int:
    """Where a field stands in `Batch.fields`."""
    return FIELDS.index(field)


def exposures(shown_ms: Array, behaviours: int = 1) -> Batch:
    """Exposures [B] about which nothing is known yet but when they were."""
    n = len(shown_ms)
    return Batch(
        fields=np.zeros((n, len(FIELDS)), np.uint64),
        bags=np.zeros((n, len(BAGS), BAG_LIMIT), np.uint64),
        history=np.zeros((n, 2, behaviours), np.uint64),
        action=np.zeros((n, 2, behaviours), np.uint8),
        age_s=np.zeros((n, 2, behaviours), np.float32),
        where=np.zeros((n, 2, behaviours), np.uint64),
        related=np.zeros((n, 1), np.uint64),
        related_action=np.zeros((n, 1), np.uint8),
        related_age_s=np.zeros((n, 1), np.float32),
        domains=np.zeros((n, DOMAIN_LIMIT), np.uint64),
        domain_exposures=np.zeros((n, DOMAIN_LIMIT), np.float32),
        counts=np.zeros((n, len(SCOPES), len(COUNTS)), np.float32),
        popularity=np.zeros((n, len(POPULARITY_HALF_LIVES_H)), np.float32),
        item_age_s=np.full(n, -1, np.float32),
        followed=np.zeros(n, np.float32),
        shown_ms=shown_ms,
        labels=np.zeros((n, len(TASKS)), np.float32),
        sign=np.zeros((n, len(TASKS)), np.float32),
        is_example=np.ones(n, np.float32),
        sampling_rate=np.ones(n, np.float32),
        ids=np.zeros(n, np.uint64),
        slate=np.full(n, -1, np.int64),
        tier=np.zeros(n, np.int64),
    )


def ranks(values: Array) -> Array:
    """1 for the least of the values [n], ties at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def auc(scores: Array, chance: Array) -> float:
    """Chance that a positive scores above a negative (Mann-Whitney), of labels [n] or, weighed by it, of true chances of a positive."""
    distinct, inverse = np.unique(scores, return_inverse=True)
    positive = np.bincount(inverse, chance, len(distinct))
    negative = np.bincount(inverse, 1.0 - chance, len(distinct))
    if not positive.sum() or not negative.sum():
        return float("nan")
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def sigmoid(z: Array) -> Array:
    """Probability of a logit."""
    return 1 / (1 + np.exp(-z))
