"""Row-wise Adagrad with forgetting, one row at a time (MODEL.md section 7)."""
from __future__ import annotations

import math
from collections.abc import Sequence


def step(gradient: Sequence[float], square: float, idle_ms: float, half_life_ms: float, rate: float) -> tuple[list[float], float]:
    """The step to subtract, and G after it."""
    square = square * 2 ** (-idle_ms / half_life_ms) + sum(g * g for g in gradient) / len(gradient)
    return [rate * g / math.sqrt(square + 1e-8) for g in gradient], square
