"""Rows that belong to keys: born, used, expired, evicted. What a row holds is kept beside this, under the same number.

Row 0 belongs to no key, so that "absent" can be read like any other row.
"""
from __future__ import annotations

import numpy as np

from online_model.key_index import KeyIndex

Array = np.ndarray

_FIRST_ROWS = 1024
KEPT_SHARE = 0.25  # of the most rows there ever were: expiry leaves so many, since after a silence everything is old
_EVICTED_SHARE = 64  # one eviction makes room for 1/64 of the capacity, since it sorts all rows by their last use


class Rows:
    """At most `capacity` keys; unused ones expire, the least recently used make room.

    A row used within the last `floor_ms` is never evicted: in a flood of new keys it is the new ones that wait (`refused`). Expiry
    leaves at least `kept_share` of the most rows there ever were: of the unused ones it keeps those that were used most often.
    """

    def __init__(self, capacity: int, expire_ms: int, floor_ms: int, kept_share: float = 0.0) -> None:
        self.capacity, self.expire_ms, self.floor_ms, self.kept_share = capacity, expire_ms, floor_ms, kept_share
        self.refused = 0  # births that found no room
        self._index = KeyIndex()
        self.keys = np.zeros(min(_FIRST_ROWS, capacity + 1), np.uint64)  # 0 = free
        self.used_ms = np.zeros(len(self.keys), np.int64)
        self.uses = np.zeros(len(self.keys), np.int64)  # steps that used it
        self.free: list[int] = []  # given back, the newest last
        self.high = 1  # rows from here on were never used

    def __len__(self) -> int:
        return self.high - 1 - len(self.free)

    def find(self, keys: Array) -> Array:
        """Rows of the keys, 0 where absent."""
        return np.maximum(self._index.find(keys), 0)

    def touch(self, rows: Array, now_ms: int) -> None:
        """These distinct rows were used now."""
        self.used_ms[rows] = np.maximum(self.used_ms[rows], now_ms)
        self.uses[rows] += 1

    def born(self, keys: Array, now_ms: int) -> tuple[Array, Array]:
        """Rows for new, distinct keys (0 where there was no room), and the keys that lost theirs for it."""
        lost = np.zeros(0, np.uint64)
        lacking = len(self) + len(keys) - self.capacity
        if lacking > 0:
            lost = self._evict(max(lacking, self.capacity // _EVICTED_SHARE), now_ms)
        room = min(len(keys), self.capacity - len(self))
        self.refused += len(keys) - room
        rows = np.zeros(len(keys), np.int64)
        back = min(room, len(self.free))
        if back:
            rows[:back] = self.free[-back:][::-1]
            del self.free[-back:]
        rows[back:room] = np.arange(self.high, self.high + room - back)
        self.high += room - back
        while self.high > len(self.keys):
            more = min(len(self.keys), self.capacity + 1 - len(self.keys))
            self.keys = np.concatenate([self.keys, np.zeros(more, np.uint64)])
            self.used_ms, self.uses = (np.concatenate([a, np.zeros(more, np.int64)]) for a in (self.used_ms, self.uses))
        self.keys[rows[:room]] = keys[:room]
        self.used_ms[rows[:room]] = now_ms
        self.uses[rows[:room]] = 1
        self._index.insert(keys[:room], rows[:room])
        return rows, lost

    def remove(self, keys: Array) -> Array:
        """Forget those of the keys that are present; their rows."""
        rows = self._index.find(keys)
        keys, rows = keys[rows >= 0], rows[rows >= 0]
        self._index.remove(keys)
        self.keys[rows] = 0
        self.used_ms[rows] = self.uses[rows] = 0
        self.free.extend(rows.tolist())
        return rows

    def expire(self, now_ms: int) -> Array:
        """Forget what was not used for `expire_ms`, down to the share that stays; its keys."""
        old = np.flatnonzero((self.used_ms[: self.high] < now_ms - self.expire_ms) & (self.keys[: self.high] != 0))
        kept = int(self.kept_share * (self.high - 1)) - (len(self) - len(old))
        if kept > 0:
            old = np.sort(old[np.lexsort((self.used_ms[old], self.uses[old]))[:-kept]])
        gone = self.keys[old]
        self.remove(gone)
        return gone

    def _evict(self, n: int, now_ms: int) -> Array:
        live = np.flatnonzero(self.keys[: self.high])
        old = live[self.used_ms[live] < now_ms - self.floor_ms]
        oldest = old[np.argsort(self.used_ms[old], kind="stable")[:n]]
        gone = self.keys[oldest]
        self.remove(gone)
        return gone

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint."""
        return {
            "keys": self.keys[: self.high].copy(),
            "used_ms": self.used_ms[: self.high].copy(),
            "uses": self.uses[: self.high].copy(),
            "free": np.array(self.free, np.int64),
            "refused": np.array([self.refused], np.int64),
        }

    def load(self, arrays: dict[str, Array]) -> None:
        """The state that `arrays` gave."""
        self.keys, self.used_ms = arrays["keys"].copy(), arrays["used_ms"].copy()
        self.uses = arrays["uses"].copy() if "uses" in arrays else (self.keys != 0).astype(np.int64)  # checkpoints of earlier builds
        self.free, self.high, self.refused = arrays["free"].tolist(), len(self.keys), int(arrays["refused"][0])
        self._index = KeyIndex()
        live = np.flatnonzero(self.keys)
        self._index.insert(self.keys[live], live)
