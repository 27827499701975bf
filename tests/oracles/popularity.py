"""p(t) = sum over events e of 2^(-(t - t_e) / H), as the sum stands."""
from __future__ import annotations

from collections.abc import Sequence

HALF_LIVES_H = (1.0, 24.0, 168.0)


def popularity(event_times_ms: Sequence[int], at_ms: int, half_life_h: float) -> float:
    total = 0.0
    for t in event_times_ms:
        total += 2.0 ** (-(at_ms - t) / 3_600_000 / half_life_h)
    return total
