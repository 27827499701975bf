"""Inputs of the popularity effect for one example, and moments over decayed weights, as their sums stand (MODEL.md section 4)."""
from __future__ import annotations

import math
from collections.abc import Sequence


def inputs(popularity: Sequence[float], age_s: float, exposures: float) -> list[float]:
    """log1p at 1 h, 1 d, 7 d; how much the hour is above the week; age in hours; own exposures."""
    logs = [math.log(1 + max(p, 0.0)) for p in popularity]
    age = math.log(1 + age_s / 3600) if age_s >= 0 else 9.0
    return [*logs, logs[0] - logs[-1], age, math.log(1 + max(exposures, 0.0))]


def moments(rows: Sequence[Sequence[float]], times_ms: Sequence[int], half_life_ms: float) -> tuple[list[float], list[float]]:
    """Mean and variance a column, each row weighing 2^-(age / half-life) at the newest time; a late row counts as just seen."""
    newest = 0
    seen = [newest := max(newest, t) for t in times_ms]
    weights = [2.0 ** (-(newest - t) / half_life_ms) for t in seen]
    total = sum(weights)
    mean = [sum(w * row[c] for w, row in zip(weights, rows, strict=True)) / total for c in range(len(rows[0]))]
    variance = [sum(w * (row[c] - mean[c]) ** 2 for w, row in zip(weights, rows, strict=True)) / total for c in range(len(rows[0]))]
    return mean, variance
