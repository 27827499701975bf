"""An item's level as its sum stands: exposures weighing 2^-(age / half-life) at the newest time, a late one as just seen."""
from __future__ import annotations

from collections.abc import Sequence


def level(inputs: Sequence[float], weights: Sequence[float], times_ms: Sequence[int], half_life_ms: float) -> float:
    """One column of one item."""
    newest = 0
    seen = [newest := max(newest, t) for t in times_ms]
    faded = [w * 2.0 ** (-(newest - t) / half_life_ms) for w, t in zip(weights, seen, strict=True)]
    return sum(w * x for w, x in zip(faded, inputs, strict=True)) / sum(faded)
