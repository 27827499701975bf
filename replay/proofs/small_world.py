"""What the small worlds of the proofs share: keys of their ids, batches of their exposures, one pass of a learner over them.

Shapes: B exposures, T tasks.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from online_model.batch import Batch
from online_model.features import (
    BAG_LIMIT,
    BAGS,
    CODES,
    COUNTS,
    DOMAIN_LIMIT,
    EMBEDDING,
    FIELDS,
    OWN_PLAYS,
    PLAY_TIMES_S,
    POPULARITY_HALF_LIVES_H,
    SCOPES,
    TASKS,
)
from online_model.mixing import mixed
from online_model.trainer import StepReport, Trainer

Array = np.ndarray

START_MS = 1_735_689_600_000  # 2025-01-01, UTC


def keys(field: str, numbers: Array) -> Array:
    """64-bit keys of a field's ids, uint64 in the shape of `numbers`.

    >>> keys("user", np.arange(3)).dtype, len(np.unique([keys("user", np.arange(3)), keys("item", np.arange(3))]))
    (dtype('uint64'), 6)
    """
    salt = mixed(np.array([1 + FIELDS.index(field)], np.uint64))[0]
    return mixed(numbers.astype(np.uint64) + salt)


def exposures(shown_ms: Array, **ids: Array) -> Batch:
    """Exposures [B] of which only the time and some fields are known; `ids`: numbers [B] of the ids, by field."""
    n = len(shown_ms)
    batch = Batch(
        fields=np.zeros((n, len(FIELDS)), np.uint64),
        bags=np.zeros((n, len(BAGS), BAG_LIMIT), np.uint64),
        history=np.zeros((n, 2, 1), np.uint64),
        action=np.zeros((n, 2, 1), np.uint8),
        age_s=np.zeros((n, 2, 1), np.float32),
        where=np.zeros((n, 2, 1), np.uint64),
        related=np.zeros((n, 1), np.uint64),
        related_action=np.zeros((n, 1), np.uint8),
        related_age_s=np.zeros((n, 1), np.float32),
        domains=np.zeros((n, DOMAIN_LIMIT), np.uint64),
        domain_exposures=np.zeros((n, DOMAIN_LIMIT), np.float32),
        counts=np.zeros((n, len(SCOPES), len(COUNTS)), np.float32),
        popularity=np.zeros((n, len(POPULARITY_HALF_LIVES_H)), np.float32),
        item_age_s=np.full(n, -1, np.float32),
        followed=np.zeros(n, np.float32),
        near=np.zeros(n, np.float32),
        own_plays=np.zeros((n, len(OWN_PLAYS)), np.float32),
        artist_feedback=np.zeros((n, CODES), np.float32),
        play_times=np.zeros((n, len(PLAY_TIMES_S)), np.float32),
        embedding=np.zeros((n, EMBEDDING), np.float32),
        shown_ms=shown_ms,
        labels=np.zeros((n, len(TASKS)), np.float32),
        sign=np.zeros((n, len(TASKS)), np.float32),
        is_example=np.ones(n, np.float32),
        sampling_rate=np.ones(n, np.float32),
        ids=np.zeros(n, np.uint64),
        slate=np.full(n, -1, np.int64),
        tier=np.zeros(n, np.int64),
        foreseen=np.zeros(n, bool),
    )
    for field, numbers in ids.items():
        batch.fields[:, FIELDS.index(field)] = keys(field, numbers)
    return batch


def one_pass(trainer: Trainer, n: int, size: int, examples: Callable[[Array], Batch]) -> Iterator[tuple[Array, StepReport]]:
    """Learn from n exposures in batches, each at the time of its last one; yields the numbers of a batch and what came of its step."""
    for start in range(0, n, size):
        rows = np.arange(start, min(n, start + size))
        batch = examples(rows)
        yield rows, trainer.step(batch, int(batch.shown_ms[-1]))


def auc(scores: Array, probability: Array) -> float:
    """Probability that a positive scores above a negative (Mann-Whitney), ties at one half; NaN where there is only one kind.

    `probability` [n] of a positive: labels, or the true probabilities, by which each row is then weighed.

    >>> auc(np.array([0.1, 0.4, 0.4]), np.array([0, 1, 0]))
    0.75
    """
    distinct, inverse = np.unique(scores, return_inverse=True)
    positive = np.bincount(inverse, probability, len(distinct))
    negative = np.bincount(inverse, 1.0 - probability, len(distinct))
    if not positive.sum() or not negative.sum():
        return float("nan")
    below = np.cumsum(negative) - negative / 2
    return float((positive * below).sum() / (positive.sum() * negative.sum()))
