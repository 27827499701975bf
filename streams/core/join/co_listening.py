"""What is played close to what: of each item the ones that its listeners took around it, by decayed counts. A source of candidates.

An item is counted in the rows of the REACH different items that its user took before it, within an hour and in whichever domain, and
they in its own row: the nearer the more, forward twice as much as back. A row is bytes: the sums of its counts, then of each neighbour
its key and its two counts, as what came right after and as what is near. A count is log2 of the decayed count plus the time in
half-lives: a constant until the next such event, so that adding needs no other row and the order is that of counts at any time.

Several distances and both directions do what neighbouring sessions do (Garg et al., "STAN", SIGIR 2019) without looking at sessions: in
a linear mix over both on 30Music, hit@20 is .4375 with the sessions' score and .4378 without, .4197 with sessions and successors alone.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from math import exp2, inf, log2

import numpy as np

from online_model.decay import DAY_MS, summed
from online_model.history import newest_first
from streams.core.join.keys import HOUR_MS
from streams.core.state.tables import Table

EACH = 64  # neighbours kept of an item: the rarest goes first
ITEMS = 1 << 16  # whose neighbours are in memory for serving: rows of 1,552 bytes at most
WITHIN_MS = HOUR_MS  # of the item before: what is taken later begins something new
HALF_LIFE_MS = 365 * DAY_MS  # what goes together changes slowly; 30 d: hit@20 of nearness alone .409 on 30Music, so .435
PRIOR = 2.0  # added to the sum of a row: a thin count says little
REACH = 4  # items before that a play is counted with; hit@20 by 1, 2, 3, 4, 8: .407, .426, .432, .436, .438
NEARER = 0.7  # each counting so much of the one after it,
BACK = 0.5  # and what came before so much of what came after
PAST = 8  # last items whose neighbours are asked for,
FADES = 0.8  # each counting so much of the one after it
_ROW = np.dtype([("item", "<u8"), ("next", "<f8"), ("near", "<f8")])
_SUMS, _ENTRY = struct.Struct("<dd"), struct.Struct("<Qdd")
_NOTHING = _SUMS.pack(-inf, -inf)

Counted = tuple[int, float, float]  # item, count as the next one, count as a near one


def add(row: bytes | None, counted: Iterable[Counted], ts: int) -> bytes:
    """The row with more of some neighbours, of each near more than 0.

    Of more than EACH, the one with the lowest count goes (of equal ones the oldest).
    """
    row, at_ms = row or _NOTHING, ts / HALF_LIFE_MS
    next_sum, near_sum = _SUMS.unpack_from(row)
    for item, after, near in counted:
        at = _place(row, item)
        _, as_next, as_near = _ENTRY.unpack_from(row, at) if at < len(row) else (item, -inf, -inf)
        if after > 0.0:
            more = at_ms + log2(after)
            as_next, next_sum = summed(as_next, more), summed(next_sum, more)
        more = at_ms + log2(near)
        as_near, near_sum = summed(as_near, more), summed(near_sum, more)
        row = row[:at] + _ENTRY.pack(item, as_next, as_near) + row[at + _ENTRY.size :]
        if len(row) > _SUMS.size + EACH * _ENTRY.size:
            least = _SUMS.size + int(_entries(row)["near"].argmin()) * _ENTRY.size
            row = row[:least] + row[least + _ENTRY.size :]
    return _SUMS.pack(next_sum, near_sum) + row[_SUMS.size :]


def merge(rows: Iterable[bytes]) -> bytes:
    """Rows of one item, of several sources, as one."""
    scores: dict[int, tuple[float, float]] = {}
    sums = (-inf, -inf)
    for row in rows:
        sums = _both(sums, _SUMS.unpack_from(row))
        for item, *more in _ENTRY.iter_unpack(row[_SUMS.size :]):
            scores[item] = _both(scores.get(item, (-inf, -inf)), more)
    best = sorted(scores.items(), key=lambda pair: (-pair[1][1], -pair[0]))[:EACH]
    return _SUMS.pack(*sums) + b"".join([_ENTRY.pack(item, *pair) for item, pair in best])


def links(before: Sequence[int], item: int, weight: float = 1.0) -> Iterator[tuple[int, list[Counted]]]:
    """What an item that follows others, the nearest first, adds to rows: theirs, then its own. It counts `weight`."""
    near = [weight * NEARER**n for n in range(len(before))]
    for n, each in enumerate(before):
        yield each, [(item, 0.0 if n else weight, near[n])]
    yield item, [(each, 0.0, BACK * count) for each, count in zip(before, near, strict=True)]


def follow(table: Table[bytes], before: Sequence[int], item: int, ts: int, weight: float = 1.0) -> None:
    """Count an item as following others, the nearest first, in a table of rows."""
    for of, counted in links(before, item, weight) if before else ():
        key = of.to_bytes(8, "big")
        table.put(key, add(table.get(key), counted, ts))


def past(histories: Sequence[bytes], ts: int) -> dict[int, int]:
    """The PAST last different items of a user's packed histories, newest first, and when each was taken last."""
    out: dict[int, int] = {}
    for item, at in newest_first(histories, ts, ts, 2 * PAST):
        out.setdefault(item, at)
        if len(out) == PAST:
            break
    return out


class Nearness:
    """What others took close to a user's last items: of each item the sum of its shares of their rows, the share of the n-th row fading."""

    __slots__ = ("_next", "_now", "_of_next", "_rows")

    def __init__(self, rows: Sequence[bytes], ts: int, follows: bool) -> None:
        """`rows`: of the last items, newest first; empty where nothing is known. `follows`: the first is of what was taken just before."""
        self._now = ts / HALF_LIFE_MS
        self._next = rows[0] if follows and rows else b""
        self._of_next = self._share(self._next, 0)
        self._rows = [(row, FADES**n * self._share(row, 1)) for n, row in enumerate(rows) if row]

    def next(self, item: int) -> float:
        """How often an item is what comes right after the last one, as a share in [0, 1)."""
        return self._count(self._next, item, 1) * self._of_next

    def near(self, item: int) -> float:
        """How near an item is, from 0 on."""
        return sum([self._count(row, item, 2) * share for row, share in self._rows], 0.0)

    def best(self) -> list[int]:
        """All neighbours, the nearest first; of equal ones the smallest key."""
        if not self._rows:
            return []
        entries = np.concatenate([_entries(row) for row, _ in self._rows])
        shares = np.repeat([share for _, share in self._rows], [len(_entries(row)) for row, _ in self._rows])
        items, where = np.unique(entries["item"], return_inverse=True)
        total = np.bincount(where, np.exp2(entries["near"] - self._now) * shares)
        return items[np.argsort(-total, kind="stable")].tolist()

    def _share(self, row: bytes, column: int) -> float:
        """What a count of the row is multiplied with."""
        return 1.0 / (exp2(_SUMS.unpack_from(row)[column] - self._now) + PRIOR) if row else 0.0

    def _count(self, row: bytes, item: int, column: int) -> float:
        at = _place(row, item) if row else 0
        return exp2(_ENTRY.unpack_from(row, at)[column] - self._now) if at < len(row) else 0.0


def shares(row: bytes, ts: int) -> dict[int, float]:
    """How near each neighbour is, as its share of the row's decayed counts and PRIOR others."""
    if not row:
        return {}
    entries, now = _entries(row), ts / HALF_LIFE_MS
    total = exp2(_SUMS.unpack_from(row)[1] - now) + PRIOR
    return dict(zip(entries["item"].tolist(), (np.exp2(entries["near"] - now) / total).tolist(), strict=True))


NOWHERE = Nearness((), 0, False)


class CoListening:
    """Rows by item, of those that were counted last: what serving reads."""

    def __init__(self) -> None:
        self._rows: dict[int, bytes] = {}  # the least recently changed first

    def add(self, before: Sequence[int], item: int, ts: int, weight: float = 1.0) -> None:
        """An item was taken after others, the nearest first."""
        for of, counted in links(before, item, weight) if before else ():
            self.put(of, add(self._rows.get(of), counted, ts))

    def put(self, item: int, row: bytes) -> None:
        """The row of an item, as a whole."""
        self._rows.pop(item, None)
        self._rows[item] = row
        if len(self._rows) > ITEMS:
            del self._rows[next(iter(self._rows))]

    def drop(self, item: int) -> None:
        """Nothing is near it any more; as a neighbour it is filtered where lists are made."""
        self._rows.pop(item, None)

    def row(self, item: int) -> bytes:
        """The neighbours of an item; empty of one that is not known."""
        return self._rows.get(item, b"")


def _place(row: bytes, item: int) -> int:
    """Where the entry of an item begins; the end where there is none."""
    key, at = item.to_bytes(8, "little"), _SUMS.size - 1
    while (at := row.find(key, at + 1)) >= 0:
        if (at - _SUMS.size) % _ENTRY.size == 0:
            return at
    return len(row)


def _entries(row: bytes) -> np.ndarray:
    return np.frombuffer(row, _ROW, offset=_SUMS.size)


def _both(scores: Sequence[float], more: Sequence[float]) -> tuple[float, float]:
    a, b = (summed(*pair) if max(pair) > -inf else -inf for pair in zip(scores, more, strict=True))
    return a, b
