"""Event-time timers over a table: keys that come due once, in order of time, also after a restart."""
from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from typing import Any

from streams.core.state.tables import Table

FOREVER = 1 << 62  # ms
_DUE = struct.Struct(">q")


class EventTimers:
    """Keys that come due in event time, kept in a table's rows so that a restart finds them.

    Only those due before a horizon are in memory; the rest are read, a step ahead, when time gets there.
    """

    def __init__(self, table: Table[Any], prefix: bytes, step_ms: int) -> None:
        self._table, self._prefix, self._step_ms = table, prefix, step_ms
        self._heap: list[bytes] = []
        self._horizon_ms = FOREVER if table.source is None else -1

    def add(self, due_ms: int, key: bytes) -> None:
        """Let a key come due at a moment of event time; it may have several."""
        self._follow_table()
        mark = self._prefix + _DUE.pack(due_ms) + key
        if due_ms <= self._horizon_ms:
            heapq.heappush(self._heap, mark)
        if self._table.source is not None:
            self._table.put(mark, b"")

    def due(self, until_ms: int) -> Iterator[bytes]:
        """Take the keys due at or before `until_ms`, in order of time, then key; equal marks count once."""
        self._follow_table()
        if until_ms > self._horizon_ms:
            self._read(self._horizon_ms, until_ms + self._step_ms)
            self._horizon_ms = until_ms + self._step_ms
        return self._take(until_ms)

    def all(self) -> Iterator[bytes]:
        """Take every key, in the same order."""
        self._follow_table()
        self._read(self._horizon_ms, FOREVER)
        return self._take(FOREVER)

    def _follow_table(self) -> None:
        """Once the table has overflowed to a store, what was in memory are rows of it."""
        if self._horizon_ms == FOREVER and self._table.source is not None:
            for mark in self._heap:
                self._table.put(mark, b"")
            self._heap.clear()
            self._horizon_ms = -1

    def _take(self, until_ms: int) -> Iterator[bytes]:
        end, last = self._prefix + _DUE.pack(until_ms + 1), b""
        while self._heap and self._heap[0] < end:
            mark = heapq.heappop(self._heap)
            if mark == last:
                continue
            last = mark
            if self._table.source is not None:
                self._table.delete(mark)
            yield mark[len(self._prefix) + _DUE.size :]

    def _read(self, after_ms: int, until_ms: int) -> None:
        """Into memory: the marks of the table due after one time and until another. None of them was taken yet."""
        if self._table.source is None:
            return
        first, end = (self._prefix + _DUE.pack(t + 1) for t in (after_ms, until_ms))
        marks = {k for k in self._table.changed() if first <= k < end}
        marks.update(self._table.source.scan(first, end))
        self._heap += marks
        heapq.heapify(self._heap)
