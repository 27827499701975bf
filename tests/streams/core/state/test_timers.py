"""Event-time timers: keys come due once, in order of time, also over a store and after a restart."""
from __future__ import annotations

import heapq

from hypothesis import given
from hypothesis import strategies as st

from streams.core.state.tables import Overflow, Table
from streams.core.state.timers import EventTimers
from tests.streams.core.join.test_partition import Stored
from tests.streams.core.state.test_tables import Opened

keys_ = st.sampled_from([b"a", b"b", b"c"])


def _same(raw: bytes) -> bytes:
    return raw


def test_marks_that_come_due_far_ahead_are_not_in_memory() -> None:
    marks = EventTimers(Table(_same, _same, Stored()), b"o", step_ms=10)
    assert list(marks.due(0)) == []  # looked ahead until 10
    for due_ms in range(1, 1000):
        marks.add(due_ms, b"a")
    assert len(marks._heap) == 10
    assert len(list(marks.due(500))) == 500
    assert len(marks._heap) == 10


kinds = st.sampled_from(["resident", "stored", "restarted", "overflowed"])


@given(st.lists(st.tuples(st.integers(0, 20), keys_), max_size=30), st.integers(1, 20), kinds)
def test_marks_come_due_once_in_order_of_time_also_over_a_store_and_a_restart(
    added: list[tuple[int, bytes]], step_ms: int, kind: str
) -> None:
    store = Stored()
    opened = Opened()
    table = Table(_same, _same, None if kind in ("resident", "overflowed") else store, overflow=Overflow(1, lambda: opened))
    if kind == "overflowed":
        table.put(b"row", b"1")
    marks, heap, now = EventTimers(table, b"o", step_ms), list[tuple[int, bytes]](), 0
    for due_ms, key in added:
        now += 2
        marks.add(now + due_ms, key)
        heapq.heappush(heap, (now + due_ms, key))
        if kind == "restarted":
            for changed, raw in table.writes():
                store.rows.pop(changed, None) if raw is None else store.rows.update({changed: raw})
            table = Table(_same, _same, store)
            marks = EventTimers(table, b"o", step_ms)
        if kind == "overflowed":
            table.put(b"row %d" % now, b"1")
            table.settle()
        wanted = []
        while heap and heap[0][0] <= now:
            one = heapq.heappop(heap)
            if not wanted or wanted[-1] != one:
                wanted.append(one)
        assert list(marks.due(now)) == [key for _, key in wanted]
    assert list(marks.all()) == [key for _, key in sorted(set(heap))]
