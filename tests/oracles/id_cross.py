"""ID-Cross as loops over one candidate and a user's behaviours (MODEL.md section 2)."""
from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]
Matrix = Sequence[Row]


def unscaled(first: Matrix, second: Matrix, feeds: Sequence[Row]) -> list[float]:
    """Sums over the behaviours that are there of [h1, h2], orders 1 and 2 behind each other. first [E][U], second [U][V]."""
    out: list[float] = []
    for order in (1, 2):
        sums = [0.0] * (len(second) + len(second[0]))
        for feed in feeds:
            h1 = []
            for u in range(len(second)):
                z = 0.0
                for e, value in enumerate(feed):
                    z += max(-2.0, min(2.0, value)) ** order * first[e][u]
                h1.append(math.tanh(z))
            h2 = [sum(h1[u] * second[u][v] for u in range(len(second))) for v in range(len(second[0]))]
            for k, value in enumerate(h1 + h2):
                sums[k] += value
        out += sums
    return out


def cross(first: Matrix, second: Matrix, feeds: Sequence[Row]) -> list[float]:
    return [value / math.sqrt(1 + len(feeds)) for value in unscaled(first, second, feeds)]
