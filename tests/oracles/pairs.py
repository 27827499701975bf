"""Ordered pairs within lists, and how much each kind counts, as loops (MODEL.md section 1)."""
from __future__ import annotations

import math
from collections.abc import Sequence


def tier(acts: set[str]) -> int:
    """The highest act within the window, except that a dislike forces 0."""
    if "dislike" in acts:
        return 0
    if "collect" in acts or "share" in acts:
        return 3
    return 2 if "full_play" in acts else 1 if "partial_play" in acts else 0


def pairs(tiers: Sequence[int], lists: Sequence[int]) -> list[tuple[int, int]]:
    """(better, worse) of all rows of one list and unequal tier."""
    out = []
    for i in range(len(tiers)):
        for j in range(len(tiers)):
            if lists[i] == lists[j] >= 0 and tiers[i] > tiers[j]:
                out.append((i, j))
    return out


def loss(scores: Sequence[float], compared: Sequence[tuple[int, int]], weights: Sequence[float]) -> float:
    """Sum of w softplus(-(s_i - s_j)) over the sum of w."""
    total = sum(w * math.log(1 + math.exp(scores[j] - scores[i])) for (i, j), w in zip(compared, weights, strict=True))
    return total / sum(weights)


def counts(seen: Sequence[tuple[int, int, int]], half_life_ms: float) -> dict[tuple[int, int], float]:
    """n_ab at the last time, of pairs (better tier, worse tier, time)."""
    now, out = max(t for _, _, t in seen), {}
    for a, b, t in seen:
        out[a, b] = out.get((a, b), 0.0) + 2.0 ** (-(now - t) / half_life_ms)
    return out


def omega(n: dict[tuple[int, int], float], exponent: float) -> dict[tuple[int, int], float]:
    """clip((mean n / n_ab)^exponent, 1/3, 3), normalised so that the sum of n w is the sum of n."""
    mean = sum(n.values()) / len(n)
    raw = {ab: min(3.0, max(1 / 3, (mean / count) ** exponent)) for ab, count in n.items()}
    scale = sum(n.values()) / sum(n[ab] * raw[ab] for ab in n)
    return {ab: w * scale for ab, w in raw.items()}
