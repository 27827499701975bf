"""Metrics as loops over rows: exact, quadratic where the definition is."""
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

Floats = Sequence[float]


def auc(scores: Floats, labels: Floats) -> float:
    """Share of (positive, negative) pairs in the right order; a tie counts half."""
    right, pairs = 0.0, 0
    for s, y in zip(scores, labels, strict=True):
        for s2, y2 in zip(scores, labels, strict=True):
            if y == 1 and y2 == 0:
                pairs += 1
                right += 1.0 if s > s2 else 0.5 if s == s2 else 0.0
    return right / pairs if pairs else math.nan


def gauc(users: Sequence[int], scores: Floats, labels: Floats) -> tuple[float, float]:
    rows = defaultdict(list)
    for user, s, y in zip(users, scores, labels, strict=True):
        rows[user].append((s, y))
    total = weight = skipped = 0.0
    for mine in rows.values():
        value = auc([s for s, _ in mine], [y for _, y in mine])
        if math.isnan(value):
            skipped += len(mine)
        else:
            total += len(mine) * value
            weight += len(mine)
    return (total / weight if weight else math.nan), (skipped / len(users) if len(users) else math.nan)


def log_loss(probabilities: Floats, labels: Floats) -> float:
    return sum(-math.log(p if y == 1 else 1 - p) for p, y in zip(probabilities, labels, strict=True)) / len(labels)


def ne(probabilities: Floats, labels: Floats) -> float:
    rate = sum(labels) / len(labels)
    return log_loss(probabilities, labels) / log_loss([rate] * len(labels), labels)


def copc(probabilities: Floats, labels: Floats) -> float:
    return sum(labels) / sum(probabilities)


def ece(scores: Floats, probabilities: Floats, labels: Floats, bins: int = 20) -> float:
    """Rows in order of their score, cut into groups of equal size."""
    order = sorted(range(len(scores)), key=lambda i: scores[i])
    gap = 0.0
    for k in range(bins):
        group = order[k * len(order) // bins : (k + 1) * len(order) // bins]
        gap += abs(sum(labels[i] - probabilities[i] for i in group))
    return gap / len(order)


def fading_log_loss(times_ms: Sequence[int], probabilities: Floats, labels: Floats, half_life_ms: int) -> float:
    """S = l + aS, N = 1 + aN, with a = 2^-(time since the row before / half-life); rows in time order."""
    s = n = 0.0
    before = times_ms[0]
    for t, p, y in zip(times_ms, probabilities, labels, strict=True):
        a = 2.0 ** (-(t - before) / half_life_ms)
        s, n, before = -math.log(p if y == 1 else 1 - p) + a * s, 1 + a * n, t
    return s / n
