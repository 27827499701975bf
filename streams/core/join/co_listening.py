"""What is played right after what: of each item the ones that its listeners took next, by decayed counts. A source of candidates.

The last item that a user took is followed by the next one they take within an hour, whichever domain it is of. A row is bytes: of each
follower its key and its score, which is log2 of its decayed count plus the time in half-lives (as in `candidates.py`): a constant until
the next such event, so that adding needs no other row and the order of scores is the order of counts at any time.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from math import exp2, inf, log2

import numpy as np

from online_model.decay import summed
from online_model.history import BEHAVIOUR
from streams.core.join.keys import HOUR_MS
from streams.core.state.tables import Table

EACH = 32  # followers kept of an item: the rarest goes first
ITEMS = 1 << 17  # whose followers are in memory: rows of 512 bytes at most
WITHIN_MS = HOUR_MS  # of the last item: what is taken later begins something new
HALF_LIFE_MS = 30 * 24 * HOUR_MS  # what goes together changes slowly
PRIOR = 2.0
PAST = 8  # last items whose followers are asked for,
FADES = 0.7  # each counting so much of the one after it
_ROW = np.dtype([("item", "<u8"), ("score", "<f8")])
_PAIR = struct.Struct("<Qd")


def add(row: bytes | None, item: int, ts: int, weight: float = 1.0) -> bytes:
    """The row with one more follower, which counts `weight`. Of more than EACH, the lowest score goes (of equal ones the smallest key)."""
    scores = dict(_PAIR.iter_unpack(row or b""))
    scores[item] = summed(scores.get(item, -inf), ts / HALF_LIFE_MS + log2(weight))
    if len(scores) > EACH:
        del scores[min(scores, key=lambda other: (scores[other], other))]
    return b"".join(_PAIR.pack(*pair) for pair in scores.items())


def merge(rows: Iterable[bytes]) -> bytes:
    """Rows of one item, of several sources, as one."""
    scores: dict[int, float] = {}
    for row in rows:
        for item, score in _PAIR.iter_unpack(row):
            scores[item] = summed(scores.get(item, -inf), score)
    best = sorted(scores.items(), key=lambda pair: (-pair[1], -pair[0]))[:EACH]
    return b"".join(_PAIR.pack(*pair) for pair in best)


def follow(table: Table[bytes], before: int, item: int, ts: int, weight: float = 1.0) -> None:
    """Count an item as following another one, of which the table has a row of followers."""
    key = before.to_bytes(8, "big")
    table.put(key, add(table.get(key), item, ts, weight))


def shares(row: bytes, ts: int) -> dict[int, float]:
    """How often each follower is what comes next, of decayed counts to which PRIOR others are added: a thin count says little."""
    counts = {item: exp2(score - ts / HALF_LIFE_MS) for item, score in _PAIR.iter_unpack(row)}
    total = sum(counts.values()) + PRIOR
    return {item: count / total for item, count in counts.items()}


class CoListening:
    """Rows by item, of those that were followed last."""

    def __init__(self) -> None:
        self._rows: dict[int, bytes] = {}  # the least recently changed first

    def add(self, before: int, item: int, ts: int, weight: float = 1.0) -> None:
        """An item was taken after another."""
        self.put(before, add(self._rows.pop(before, None), item, ts, weight))

    def row(self, before: int) -> bytes:
        """The followers of an item; empty of one that is not known."""
        return self._rows.get(before, b"")

    def put(self, before: int, row: bytes) -> None:
        """The followers of an item, as a whole."""
        self._rows.pop(before, None)
        self._rows[before] = row
        if len(self._rows) > ITEMS:
            del self._rows[next(iter(self._rows))]

    def drop(self, item: int) -> None:
        """Nothing follows it any more; as a follower it is filtered where lists are made."""
        self._rows.pop(item, None)

    def after(self, past: Iterable[int]) -> Iterator[int]:
        """Of the last items of a user, newest first: what follows them, by the sum of its shares, the share of the n-th fading."""
        total: dict[int, float] = {}
        weight = 1.0
        for before in past:
            row = self._rows.get(before)
            if row:
                rows = np.frombuffer(row, _ROW)
                count = np.exp2(rows["score"] - rows["score"].max())
                for item, share in zip(rows["item"].tolist(), (weight * count / count.sum()).tolist(), strict=True):
                    total[item] = total.get(item, 0.0) + share
            weight *= FADES
        return iter(sorted(total, key=lambda item: (-total[item], item)))


def past(histories: Iterable[bytes]) -> list[int]:
    """The PAST last different items of a user's packed histories, newest first."""
    rows = np.concatenate([np.frombuffer(h[-PAST * BEHAVIOUR.itemsize :], BEHAVIOUR) for h in histories] or [np.zeros(0, BEHAVIOUR)])
    return list(dict.fromkeys(rows["item"][np.argsort(-rows["ts"], kind="stable")].tolist()))[:PAST]
