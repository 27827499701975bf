"""Exploration in a slate, and the exact propensity of the items in it.

A slate has L slots (positions); N items may stand in it, the ranked ones among them. Each slot explores with probability s,
independently. Exploring slots get items drawn uniformly from all N without replacement; the other slots get the ranked items
that were not drawn, best first. So the item of rank r (0 = best, of those ranked) stands in slot j with probability

    s/N + (1-s) * sum over a, b of  Bin(a; j, s) * Bin(b; L-1-j, s) * H(r-j+a; a+b)

    H(d; m) = C(m, d) * r!/(r-d)! * (N-1-r)!/(N-1-r-m+d)! / (N!/(N-m)!)

a, b = exploring slots above and below j; H = of m items drawn, just d are among the r better ones and none is the item
itself. An item that is not ranked has the first term alone. In each slot the propensities of all N items add up to 1.

That is the marginal over the other slots. The conditional propensity, given the slots above, is P(slots 0..j) / P(slots 0..j-1), with

    P(slots 0..j) = sum over E of  s^a (1-s)^e / (N)_a * sum over b of  Bin(b; L-1-j, s) * C(N-j-1-m, b-m) / C(N-a, b)

E = which of these slots were ranked ones, by ascending ranks; e = |E|, a = j+1-e explored, and (N)_a = N!/(N-a)! draws are all
alike; m = how many items better than the last of E do not stand in these slots: they were drawn for the b slots below.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np

Array = np.ndarray


def arrange(ranked: Sequence[int], drawn: Sequence[int], explores: Sequence[bool]) -> list[int]:
    """The slate: drawn items where a slot explores, else the best that was not drawn.

    >>> arrange([1, 2, 3], [9], [False, True, False])
    [1, 9, 2]
    """
    taken, explored = set(drawn), iter(drawn)
    best = (key for key in ranked if key not in taken)
    return [next(explored) if explore else next(best) for explore in explores]


def propensities(ranks: Sequence[int | None], items: int, share: float) -> list[float]:
    """Of each slot of a slate: the probability of its item in it. `ranks`: of the slate's items (None = not ranked); `items`: N.

    >>> propensities([0], items=2, share=0.5)  # 1/2 by rank, 1/2 x 1/2 by chance
    [0.75]
    """
    slots = len(ranks)
    if share == 0.0:
        return [1.0] * slots
    pmf, logs = _exploring(slots, share), _factorials(slots)
    all_drawn = _falling(np.array([items]), slots)[0]
    near = np.array([min(r, slots) if r is not None else slots for r in ranks])  # a slate never reaches further down
    better, others = _falling(near, slots), _falling(items - 1 - near, slots)
    out = []
    for j, r in enumerate(near.tolist()):
        p = share / items
        if r < slots:
            a, b = np.arange(max(0, j - r), j + 1), np.arange(max(0, r - j), slots - j)
            d, rest = r - j + a, b - (r - j)  # drawn of the better ones, of the others
            m = a[:, None] + b
            log_h = logs[m] - all_drawn[m] + (better[j, d] - logs[d])[:, None] + (others[j, rest] - logs[rest])
            p += (1 - share) * float(pmf[j][a] @ np.exp(log_h) @ pmf[slots - 1 - j][b])
        out.append(min(p, 1.0))
    return out


def conditional_propensities(ranks: Sequence[int | None], items: int, share: float) -> list[float]:
    """Of each slot of the same slate: the probability of its item given the slots above it. Their product is that of the slate.

    Shapes: L slots, P pairs of a slot j and an m that some choice of E has there.
    """
    slots = len(ranks)
    if share == 0.0 or not slots:
        return [1.0] * slots
    near = np.array([min(r, slots) if r is not None else slots for r in ranks])
    n, at = np.arange(slots + 1), np.arange(slots)
    missing = near - np.cumsum(near[:, None] < near, 0)  # [j, i]: m, where slot i is the last of E
    can = (near < slots) & (at <= at[:, None]) & (missing < slots - at[:, None])  # no more than can be drawn below
    pairs, pair = np.unique((at[:, None] * slots + missing)[can], return_inverse=True)
    j, m = pairs // slots, pairs % slots
    order = np.argsort(pair, kind="stable")
    ways = np.zeros((len(pairs), slots))  # [P, e - 1]: how many E
    if len(pairs):
        ways = np.add.reduceat(_ascending(near)[np.nonzero(can)[1][order]], np.searchsorted(pair[order], np.arange(len(pairs))))
    with np.errstate(divide="ignore"):
        tail = np.cumsum(np.concatenate([[0.0], np.log(np.arange(items - slots + 1, items + 1))]))  # log x!/(N-L)!, x = N-L .. N
        all_draws = n * np.log(share) - tail[slots] + tail[slots - n]  # [a]: log s^a / (N)_a
        a = j[:, None] - at
        found, scale = _below(j, m, items, slots, share, tail)
        each = np.log(ways * np.take_along_axis(found, np.maximum(a, 0), 1)) + all_draws[a] + scale[:, None]
        each += (at + 1) * np.log1p(-share) if share < 1.0 else -np.inf
    whole = all_draws[1:].copy()  # [j]: where E is empty
    np.logaddexp.at(whole, j, np.logaddexp.reduce(each, 1, initial=-np.inf))
    return np.minimum(np.exp(np.diff(whole, prepend=0.0)), 1.0).tolist()


def _ascending(near: Array) -> Array:
    """[i, e - 1]: how many choices of e ranked slots, their ranks ascending, end with slot i."""
    slots = len(near)
    before = (np.tri(slots, k=-1, dtype=bool) & (near < near[:, None]) & (near < slots)[:, None]).astype(float)
    out = np.zeros((slots, slots))
    out[:, 0] = near < slots
    for e in range(1, slots):
        out[:, e] = before @ out[:, e - 1]
    return out


def _below(j: Array, m: Array, items: int, slots: int, share: float, tail: Array) -> tuple[Array, Array]:
    """[P, a], times exp of [P]: the probability that draws for the slots below j, after a draws, hold all of m named items, none ranked."""
    n = np.arange(slots + 1)
    b, below, every = n[:-1], (slots - 1 - j)[:, None], n * np.log(items)
    rest, logs = b - m[:, None], _factorials(slots)
    drawn = np.log(_binomials(slots, share)[j]) + logs[b] - logs[np.maximum(rest, 0)] - every[np.maximum(rest, 0)]
    drawn += tail[below - m[:, None]] - tail[np.maximum(below - b, 0)]
    drawn[rest < 0] = -np.inf
    most = drawn.max(1, initial=-np.inf)
    left = every[:-1] - tail[slots - n][:, None] + tail[np.maximum(slots - n[:, None] - b, 0)]  # [a, b]: log N^b / (N-a)_b
    left[n[:, None] + b > slots] = -np.inf  # no more draws than slots
    return np.exp(drawn - most[:, None]) @ np.exp(left).T, most - m * np.log(items)


@lru_cache(maxsize=1 << 6)
def _binomials(slots: int, share: float) -> Array:
    """[j, b]: the probability that b of the slots below j explore."""
    return np.stack([np.pad(_binomial(n, share), (0, slots - 1 - n)) for n in range(slots - 1, -1, -1)])


@lru_cache(maxsize=1 << 10)
def _exploring(slots: int, share: float) -> list[Array]:
    """By n below `slots`: the probabilities that 0..n of n slots explore."""
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
