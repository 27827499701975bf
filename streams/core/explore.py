"""Chance in a list, and the exact probability of what it did.

A list has L slots; N items may stand in it, the ranked ones among them. Each slot explores with chance s, by itself.
Exploring slots get items drawn from all N, each with the same chance, none twice; the other slots get the ranked items
that were not drawn, best first. So the item of rank r (0 = best, of those ranked) stands in slot j with probability

    s/N + (1-s) * sum over a, b of  Bin(a; j, s) * Bin(b; L-1-j, s) * H(r-j+a; a+b)

    H(d; m) = C(m, d) * r!/(r-d)! * (N-1-r)!/(N-1-r-m+d)! / (N!/(N-m)!)

a, b = exploring slots above and below j; H = of m items drawn, just d are among the r better ones and none is the item
itself. An item that is not ranked has the first term alone. In each slot the probabilities of all N items add up to 1.

That holds whatever stands in the other slots. Given the slots above, an item's probability is P(slots 0..j) / P(slots 0..j-1), with

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


def given_above(ranks: Sequence[int | None], items: int, share: float) -> list[float]:
    """Of the same list, slot by slot, each given the slots above it; their product is the probability of the list.

    Shapes: L slots (j: the last that is looked at, i: the last of E), K kinds of m.
    """
    slots = len(ranks)
    if share == 0.0 or not slots:
        return [1.0] * slots
    near = np.array([min(r, slots) if r is not None else slots for r in ranks])
    at = np.arange(slots)
    missing = near - np.cumsum(near[:, None] < near, 0)  # [j, i]: m
    can = (near < slots) & (at <= at[:, None]) & (missing < slots - at[:, None])  # no more than can be drawn below
    j, i = np.nonzero(can)
    m, kind = np.unique(missing[can], return_inverse=True)
    last = np.zeros((slots, len(m), slots))
    last[j, kind, i] = 1.0
    ways = last @ _ascending(near)  # [j, K, e - 1]: how many E
    ranked = at + 1  # e
    explored = at[:, None] - at  # [j, e - 1]: a
    logs = _falling(np.array([items]), slots)[0]
    with np.errstate(divide="ignore"):
        each = np.log(ways) + (ranked * np.log1p(-share) + explored * np.log(share) - logs[explored])[:, None, :]
        each += np.log(_below(m, items, slots, share)[explored, :, at[:, None]]).transpose(0, 2, 1) - (m * np.log(items))[:, None]
    each[np.broadcast_to((explored < 0)[:, None, :], each.shape)] = -np.inf
    none = ranked * np.log(share) - logs[ranked]  # E is empty
    whole = np.logaddexp.reduce(np.concatenate([none[:, None], each.reshape(slots, -1)], 1), 1)
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


def _below(m: Array, items: int, slots: int, share: float) -> Array:
    """[a, K, j]: the chance that draws for the slots below j, after a draws, hold all of m named items and none of the ranked ones, times
    items^m, so that it stays a number where it is tiny."""
    n = np.arange(slots + 1)
    j, b = n[:-1, None], n[:-1]
    rest = b - m[:, None]  # [K, b]
    scale = n * np.log(items)
    others = _falling((items - 1 - j - m).ravel(), slots).reshape(slots, len(m), slots + 1) - scale
    logs = _factorials(slots)
    with np.errstate(divide="ignore"):
        drawn = np.log(_binomials(slots, share))[:, None, :] + logs[b] - logs[rest]
    drawn += others[j[:, :, None], np.arange(len(m))[:, None], rest]
    drawn[:, rest < 0] = -np.inf
    all_drawn = np.where(b[:, None] + b <= slots, (_falling(items - b, slots) - scale)[:, :-1], np.inf)  # no more than there are slots
    out = np.exp(-all_drawn) @ np.exp(drawn).reshape(slots * len(m), slots).T
    return out.reshape(slots, slots, len(m)).transpose(0, 2, 1)


@lru_cache(maxsize=1 << 10)
def _chances(slots: int, share: float) -> list[Array]:
    """By n below `slots`: the chances that so many of n slots explore."""
    return [_binomial(n, share) for n in range(slots)]


@lru_cache(maxsize=1 << 6)
def _binomials(slots: int, share: float) -> Array:
    """[j, b]: the chances that b of the slots below j explore."""
    return np.stack([np.pad(_binomial(n, share), (0, slots - 1 - n)) for n in range(slots - 1, -1, -1)])


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
