"""What a user's exposure to an item, or act on it, adds to the counts of the item: the less, the more the user's own have added.

A popular item is what many play, not what one plays all day. Of a limit L, an act counts w = max(0, 1 - u / L), where u is the
decayed sum of what the user's earlier ones on this item counted. So the first counts whole, and u never exceeds L, nor does the user's
part of any count that decays as fast or faster.

A user's rows are bytes: an item, and the two sums, of exposures and of acts, as log2 plus the time in half-lives (as in
co-listening): constants until the next of their kind. The KEPT items with the largest sums stay, so that who takes N acts to come
round to an item again counts at most N / KEPT times more than the limit says.
"""
from __future__ import annotations

import struct
from math import exp2, inf, log2

import numpy as np

from online_model.decay import HOUR_MS, summed

EXPOSURES, ACTS = 0, 1
KEPT = 64  # items of a user: 24 bytes each

_ROW = np.dtype([("item", "<u8"), ("sums", "<f8", 2)])
_PACKED = struct.Struct("<Qdd")
_NONE = (-inf, -inf)


class Repeats:
    """The weights under one limit and half-life."""

    def __init__(self, limit: float, half_life_h: float) -> None:
        self._limit, self._log_limit, self._half_life_ms = limit, log2(limit), half_life_h * HOUR_MS

    def add(self, rows: bytes, item: int, ts: int, kind: int) -> tuple[bytes, float]:
        """(The user's rows with one more of a kind, what it counts.) One that is older than the last is weighed as if in order."""
        at, sums = _find(rows, item)
        now = ts / self._half_life_ms
        own = sums[kind] - now  # log2 of u
        weight = 0.0 if own >= self._log_limit else 1.0 - exp2(own) / self._limit
        if weight <= 0.0:
            return rows, 0.0
        return _put(rows, at, item, sums, kind, summed(sums[kind], now + log2(weight))), weight

    def take_back(self, rows: bytes, item: int, ts: int, kind: int) -> tuple[bytes, float]:
        """(The user's rows with one of a kind less, what that takes from the counts): at most 1, and no more than is in them."""
        at, sums = _find(rows, item)
        now = ts / self._half_life_ms
        own = exp2(min(sums[kind] - now, self._log_limit))
        if own == 0.0:
            return rows, 0.0
        weight = min(1.0, own)
        left = log2(own - weight) + now if own > weight else -inf
        return _put(rows, at, item, sums, kind, left), weight


def _find(rows: bytes, item: int) -> tuple[int, tuple[float, float]]:
    """Where the row of an item begins and its sums; the end, and no sums, where there is none."""
    key, at = item.to_bytes(8, "little"), -1
    while (at := rows.find(key, at + 1)) >= 0:
        if at % _PACKED.size == 0:
            _, exposures, acts = _PACKED.unpack_from(rows, at)
            return at, (exposures, acts)
    return len(rows), _NONE


def _put(rows: bytes, at: int, item: int, sums: tuple[float, float], kind: int, score: float) -> bytes:
    """The rows with one sum set; of more than KEPT, the one with the lowest goes (of equal ones the oldest)."""
    row = _PACKED.pack(item, *(score if n == kind else each for n, each in enumerate(sums)))
    rows = rows[:at] + row + rows[at + _PACKED.size :]
    if len(rows) > KEPT * _PACKED.size:
        least = int(np.frombuffer(rows, _ROW)["sums"].max(axis=1).argmin()) * _PACKED.size
        rows = rows[:least] + rows[least + _PACKED.size :]
    return rows
