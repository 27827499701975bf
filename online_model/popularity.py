"""Decaying counts p(t) = sum of 2^(-(t - t_e) / H) over events e: an item's popularity and rates, a user's rates.

A record is bytes: the newest event time (int64, ms) and one float64 a column, as of that time. Adding is linear and
so gives the same counts in any order of arrival (1e-9 relative): an event older than the record is decayed before it
is added. Popularity has half-lives of 1 h, 1 d and 7 d; rate counts share one half-life, a setting.

Plain Python on purpose: this runs for every event, and nine numbers are too few for numpy to pay (measured: slower).
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from math import exp2
from operator import add as plus
from operator import itemgetter, mul

import msgspec

from online_model.decay import HOUR_MS
from online_model.features import COUNTS, POPULARITY_HALF_LIVES_H

RATE_HALF_LIFE_H = 168.0  # a week: long enough for rare tasks, short enough to follow a season

EXPOSURE, POPULAR = 1, 1 << len(COUNTS)  # bits of a mask; TASKS[t] has the bit 2 << t
MASKS = POPULAR << 1

Values = tuple[float, ...]

_NEWEST = struct.Struct("<q")


class Increment(msgspec.Struct, frozen=True, array_like=True):
    """What one event adds to an item's record: the value of the `popularity` topic.

    With sign -1 it takes back what an earlier one added; given the earlier one's time it does so exactly.
    """

    item: int  # 64-bit key
    ts: int  # event time, ms
    mask: int  # bit 0 an exposure, bits 1..5 TASKS positive, bit 6 counts as popular (play, collect, share)
    sign: int = 1  # +1 | -1
    after: int = 0  # key of the item that the user took just before; 0: of none
    weight: float = 1.0  # of 1, what it counts: repeats of one user count less
    earlier: bytes = b""  # uint64: keys of the items that the user took before that one, newest first

    @property
    def before(self) -> list[int]:
        """Keys of the items that the user took within the hour before, newest first."""
        return [self.after, *memoryview(self.earlier).cast("Q")] if self.after else []


class Decay:
    """Records with one half-life a column."""

    __slots__ = ("_distinct", "_layout", "_spread", "columns")

    def __init__(self, half_lives_h: Sequence[float]) -> None:
        if len(half_lives_h) < 2 or not all(h > 0 for h in half_lives_h):
            raise ValueError(f"half-lives must be at least two positive numbers of hours, got {tuple(half_lives_h)}")
        self.columns = len(half_lives_h)
        distinct = sorted(set(half_lives_h))
        self._distinct = [-h * HOUR_MS for h in distinct]
        self._spread = itemgetter(*[distinct.index(h) for h in half_lives_h])
        self._layout = struct.Struct(f"<q{self.columns}d")

    def add(self, record: bytes | None, ts: int, increments: Values) -> bytes:
        """The record with `increments` (one a column) at event time `ts`, which may be older than the record."""
        if not record:
            return self._layout.pack(ts, *increments)
        newest, *values = self._layout.unpack(record)
        if ts > newest:
            values = map(mul, values, self._factors(ts - newest))  # type: ignore[assignment]
            newest = ts
        elif ts < newest:
            increments = tuple(map(mul, increments, self._factors(newest - ts)))
        return self._layout.pack(newest, *map(plus, values, increments))

    def read(self, record: bytes | None, ts: int) -> Values:
        """Counts at `ts`, one a column; no record: zeros. Before the record's own time: the counts as of that time.

        A count may be negative after an undo that was younger than what it undid; whoever makes a rate of it clips.
        """
        if not record:
            return (0.0,) * self.columns
        newest, *values = self._layout.unpack(record)
        if ts <= newest:
            return tuple(values)
        return tuple(map(mul, values, self._factors(ts - newest)))

    def _factors(self, elapsed_ms: int) -> tuple[float, ...]:
        factors: tuple[float, ...] = self._spread([exp2(elapsed_ms / h) for h in self._distinct])
        return factors


def newest(record: bytes) -> int:
    """Event time of the newest event in a record, whatever its columns: `read` gives the counts as of then, from any earlier time."""
    at: int = _NEWEST.unpack_from(record)[0]
    return at


def of_item(rate_half_life_h: float = RATE_HALF_LIFE_H) -> Decay:
    """Popularity at each half-life, then COUNTS: 80 bytes an item."""
    return Decay((*POPULARITY_HALF_LIVES_H, *(rate_half_life_h,) * len(COUNTS)))


def of_scope(rate_half_life_h: float = RATE_HALF_LIFE_H) -> Decay:
    """COUNTS alone, for a user and a user's domains and categories: 56 bytes a record."""
    return Decay((rate_half_life_h,) * len(COUNTS))


def increments(mask: int, sign: int = 1, weight: float = 1.0) -> Values:
    """The columns of an item's record that an event with this mask moves, by how much."""
    row = _INCREMENTS[sign][mask]
    return row if weight == 1.0 else tuple([weight * column for column in row])


def counts(mask: int, sign: int = 1) -> Values:
    """The same for COUNTS alone."""
    return _COUNTS[sign][mask]


def merge(parts: Sequence[Values]) -> Values:
    """Counts of several sources, read at one time, as one: added in the order given, so that the sum is the same bytes."""
    return tuple(map(sum, zip(*parts, strict=True)))


def _columns(mask: int, sign: int) -> Values:
    popular = float(sign) if mask & POPULAR else 0.0
    return (*(popular,) * len(POPULARITY_HALF_LIVES_H), *(float(sign) if mask >> bit & 1 else 0.0 for bit in range(len(COUNTS))))


_INCREMENTS = {sign: [_columns(mask, sign) for mask in range(MASKS)] for sign in (1, -1)}
_COUNTS = {sign: [row[len(POPULARITY_HALF_LIVES_H) :] for row in table] for sign, table in _INCREMENTS.items()}
