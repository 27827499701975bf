"""Chance in a list, and the exact probability of what it did.

A list has L slots; N items may stand in it, the ranked ones among them. Each slot explores with chance s, by itself.
Exploring slots get items drawn from all N, each with the same chance, none twice; the other slots get the ranked items
that were not drawn, best first. So the item of rank r (0 = best, of those ranked) stands in slot j with probability

    s/N + (1-s) * sum over a, b of  Bin(a; j, s) * Bin(b; L-1-j, s) * H(r-j+a; a+b)

    H(d; m) = C(m, d) * r!/(r-d)! * (N-1-r)!/(N-1-r-m+d)! / (N!/(N-m)!)

a, b = exploring slots above and below j; H = of m items drawn, just d are among the r better ones and none is the item
itself. An item that is not ranked has the first term alone. In each slot the probabilities of all N items add up to 1.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np

Array = np.ndarray


def arrange(ranked: Sequence[int], drawn: Sequence[int], explores: Sequence[bool]) -> list[int]:
    """The list: drawn items where a slot explores, else the best that was not drawn."""
    taken = set(drawn)
    best, chance = (key for key in ranked if key not in taken), iter(drawn)
    return [next(chance) if explore else next(best) for explore in explores]


def propensities(ranks: Sequence[int | None], items: int, share: float) -> list[float]:
    """Of a list of `ranks` (None = its item was not ranked), slot by slot, out of `items` that may stand in it."""
    slots = len(ranks)
    if share == 0.0:
        return [1.0] * slots
    pmf, logs = _chances(slots, share), _factorials(slots)
    all_drawn = _falling(np.array([items]), slots)[0]
    near = np.array([min(r, slots) if r is not None else slots for r in ranks])  # a list never reaches further down
    better, others = _falling(near, slots), _falling(items - 1 - near, slots)
    out = []
    for j, r in enumerate(near.tolist()):
        p = share / items
        if r < slots:
            above, below = np.arange(max(0, j - r), j + 1), np.arange(max(0, r - j), slots - j)
            d, rest = r - j + above, below - (r - j)  # drawn of the better ones, of the others
            m = above[:, None] + below
            log_h = logs[m] - all_drawn[m] + (better[j, d] - logs[d])[:, None] + (others[j, rest] - logs[rest])
            p += (1 - share) * float(pmf[j][above] @ np.exp(log_h) @ pmf[slots - 1 - j][below])
        out.append(min(p, 1.0))
    return out


@lru_cache(maxsize=1 << 10)
def _chances(slots: int, share: float) -> list[Array]:
    """By n below `slots`: the chances that so many of n slots explore."""
    return [_binomial(n, share) for n in range(slots)]


@lru_cache(maxsize=1 << 10)
def _factorials(n: int) -> Array:
    """Logs of 0!, 1!, ... n!."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _binomial(n: int, share: float) -> Array:
    """P(k of n) for k = 0..n."""
    k = np.arange(n + 1)
    return np.array([float(comb(n, i)) for i in range(n + 1)]) * share**k * (1.0 - share) ** (n - k)


def _falling(n: Array, most: int) -> Array:
    """log of n (n-1) ... (n-t+1) for t = 0..most, a row each n; of nothing left: -inf."""
    with np.errstate(divide="ignore"):
        logs = np.log(np.maximum(n[:, None] - np.arange(most), 0))
    return np.concatenate([np.zeros((len(n), 1)), np.cumsum(logs, 1)], 1)
