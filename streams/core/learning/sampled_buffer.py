"""Values by exposure that wait for their list to close, within a bound that drops whole lists.

An exposure with feedback comes minutes before its list closes, one without comes at the closing. If the oldest were dropped, those
with feedback would go, and the metrics would see users who never act. So whole lists are drawn by hash: over the bound the share of
lists that is kept is halved; once little waits it is doubled, for lists shown from then on.
"""
from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

import xxhash

Value = TypeVar("Value")
Key = tuple[int, int]  # user and moment shown, ms: the same for all of a list

_PAIR = struct.Struct("<Qq")
_ALL = 1 << 64
NONE_DROPPED = (0, -1, -1)  # `meta` of one that never was full
LITTLE = 8  # an 8th of the bound: what comes of a doubled share then does not pass it at once


class SampledBuffer(Generic[Value]):
    """Values by exposure, at most `limit`."""

    def __init__(self, limit: int, key: Callable[[Value], Key]) -> None:
        self.limit, self._key = limit, key
        self.rows: dict[int, Value] = {}
        self.halvings = 0  # the share of lists that is kept is 2 ** -halvings, …
        self.raised_ms = -1  # … half of it for those shown until here: some of theirs may have been dropped
        self.newest_ms = -1  # shown, while lists were drawn

    def put(self, exposure: int, value: Value) -> int:
        """How many were dropped, this one or others."""
        if self.halvings:
            self.newest_ms = max(self.newest_ms, self._key(value)[1])
            if not self._kept(value):
                return 1
        self.rows[exposure] = value
        dropped = 0
        while len(self.rows) > self.limit:
            before = len(self.rows)
            self.halvings, self.raised_ms = self.halvings + 1, -1
            self.rows = {exposure: value for exposure, value in self.rows.items() if self._kept(value)}
            dropped += before - len(self.rows)
        return dropped

    def pop(self, exposure: int) -> Value | None:
        """The value of an exposure whose list closes; None: it was dropped, or never put."""
        return self.rows.pop(exposure, None)

    def settle(self, shown_before_ms: int) -> None:
        """All that was shown before has closed: twice as many lists are kept, if little waits and all that wait are of one share."""
        if self.halvings and len(self.rows) * LITTLE < self.limit and self.raised_ms < shown_before_ms:
            self.halvings, self.raised_ms = self.halvings - 1, self.newest_ms

    def _kept(self, value: Value) -> bool:
        user, shown_ms = self._key(value)
        lot = xxhash.xxh3_64_intdigest(_PAIR.pack(user, shown_ms))
        return lot < _ALL >> (self.halvings + (shown_ms <= self.raised_ms))

    def meta(self) -> list[int]:
        """How lists are drawn as of now."""
        return [self.halvings, self.raised_ms, self.newest_ms]

    def load(self, rows: Iterable[tuple[int, Value]], meta: Sequence[int]) -> None:
        """Become what a checkpoint holds: (exposure, value) in order, and what `meta` gave."""
        self.rows = dict(rows)
        self.halvings, self.raised_ms, self.newest_ms = meta
