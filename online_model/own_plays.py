"""What a user took before, as the ranker sees it of a candidate: how often, how long ago, and what the user took next then.

In music most of what is played was played before. All of it follows from the histories that a state has.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import cached_property
from math import exp2

from online_model.features import NO_PLAYS, OWN_PLAYS
from online_model.history import newest_first

_FIGURES = struct.Struct(f"<{len(OWN_PLAYS)}f")


class OwnPlays:
    """The behaviours that a user liked, over all domains, at one moment."""

    def __init__(self, liked: Sequence[bytes], ts: int, half_life_ms: float) -> None:
        self._liked, self._ts, self._half_life_ms = liked, ts, half_life_ms

    def figures(self, item: int) -> bytes:
        """float32 [OWN_PLAYS] of an item."""
        key = item.to_bytes(8, "little")
        if not any(key in history for history in self._liked):
            return NO_PLAYS
        found = self._by_item.get(item)
        return _FIGURES.pack(*found, self._next.get(item, 0.0)) if found else NO_PLAYS

    @cached_property
    def _newest_first(self) -> list[tuple[int, int]]:
        return _until(self._liked, self._ts)

    @cached_property
    def _by_item(self) -> dict[int, list[float]]:
        """Plays, decayed plays, recency, seconds since the last."""
        out: dict[int, list[float]] = {}
        for n, (item, at) in enumerate(self._newest_first):
            row = out.setdefault(item, [0.0, 0.0, 1.0 / (1 + n), (self._ts - at) / 1000.0])
            row[0] += 1.0
            row[1] += exp2((at - self._ts) / self._half_life_ms)
        return out

    @cached_property
    def _next(self) -> dict[int, float]:
        """How often each item was what the user took right after the last one, before."""
        rows, out = self._newest_first, dict[int, float]()
        for (after, _), (item, _) in zip(rows, rows[1:], strict=False):
            if item == rows[0][0]:
                out[after] = out.get(after, 0.0) + 1.0
        return out


def taken(liked: Sequence[bytes], ts: int) -> list[int]:
    """The different items that a user liked, the newest first."""
    return list(dict.fromkeys([item for item, _ in _until(liked, ts)]))


def _until(liked: Sequence[bytes], ts: int) -> list[tuple[int, int]]:
    return newest_first(liked, ts, ts, max((len(history) for history in liked), default=0))
