"""Rows, marks and digests: a table over a store is the resident one, marks come due in order, every byte is in the digest."""
from __future__ import annotations

import heapq

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.join.state import MARKS, PROGRESS, EventTimers, Progress, Row, Table, Tables, digest
from tests import strategies
from tests.streams.core.join.test_join import Log, applied, at, log_of
from tests.streams.core.join.test_partition import Stored

keys_ = st.sampled_from([b"a", b"b", b"c"])
steps = st.lists(st.tuples(st.sampled_from(["put", "delete", "get", "settle"]), keys_, st.binary(max_size=3)), max_size=40)


def _same(raw: bytes) -> bytes:
    return raw


@given(steps, st.integers(0, 3))
def test_a_table_over_a_store_answers_as_a_dict_whatever_is_resident(steps: list[tuple[str, bytes, bytes]], keep: int) -> None:
    store, wanted = Stored(), dict[bytes, bytes]()
    table = Table(_same, _same, store, keep=keep)
    for what, key, row in steps:
        match what:
            case "put":
                table.put(key, row)
                wanted[key] = row
            case "delete":
                table.delete(key)
                wanted.pop(key, None)
            case "get":
                assert table.get(key) == wanted.get(key)
                assert table.fetch([key, b"a"]) == [wanted.get(key), wanted.get(b"a")]
            case "settle":
                for changed, raw in table.writes():
                    store.rows.pop(changed, None) if raw is None else store.rows.update({changed: raw})
                table.settle()
                assert store.rows == wanted
                assert len(list(table.rows())) <= max(keep, 3 - 3 * (keep < 3))


def test_the_rows_that_changed_last_stay_resident() -> None:
    table = Table(_same, _same, Stored(), keep=4)
    for key in (b"a", b"b", b"c", b"d", b"e", b"a"):
        table.put(key, b"row")
    table.settle()
    assert [key for key, _ in table.rows()] == [b"e", b"a"]  # past `keep`, half of it


def test_marks_that_come_due_far_ahead_are_not_in_memory() -> None:
    marks = EventTimers(Table(_same, _same, Stored()), b"o", step_ms=10)
    assert list(marks.due(0)) == []  # looked ahead until 10
    for due_ms in range(1, 1000):
        marks.add(due_ms, b"a")
    assert len(marks._heap) == 10
    assert len(list(marks.due(500))) == 500
    assert len(marks._heap) == 10


kinds = st.sampled_from(["resident", "stored", "restarted"])


@given(st.lists(st.tuples(st.integers(0, 20), keys_), max_size=30), st.integers(1, 20), kinds)
def test_marks_come_due_once_in_order_of_time_also_over_a_store_and_a_restart(
    added: list[tuple[int, bytes]], step_ms: int, kind: str
) -> None:
    store = Stored()
    table = Table(_same, _same, None if kind == "resident" else store)
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
        wanted = []
        while heap and heap[0][0] <= now:
            one = heapq.heappop(heap)
            if not wanted or wanted[-1] != one:
                wanted.append(one)
        assert list(marks.due(now)) == [key for _, key in wanted]
    assert list(marks.all()) == [key for _, key in sorted(set(heap))]


def rows_of(partition: Partition) -> dict[str, list[Row]]:
    return {name: list(table.rows()) for name, table in partition.tables.named().items()}


@given(strategies.logs(size=12), st.data())
def test_any_byte_of_any_row_is_in_the_digest(log: Log, data: st.DataObject) -> None:
    rows = rows_of(applied(log)[0])
    tables = ("users", "pending", "dedupe", "popularity")
    places = [(name, i) for name in tables for i, (key, _) in enumerate(rows[name]) if key[:1] not in MARKS.get(name, ())]
    if not places:
        return
    name, i = data.draw(st.sampled_from(places))
    key, raw = rows[name][i]
    at = data.draw(st.integers(0, len(raw) - 1))
    for changed in ([(key, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])], [(key + b"\0", raw)], [(key, raw + b"\0")], []):
        other = rows | {name: rows[name][:i] + changed + rows[name][i + 1 :]}
        differs = {part for part, value in digest(other).items() if value != digest(rows)[part]}
        assert differs == {name}


@given(strategies.logs(size=12), st.randoms(use_true_random=False))
def test_the_digest_does_not_see_in_which_order_rows_lie(log: Log, random: object) -> None:
    rows = rows_of(applied(log)[0])
    other = {name: list(part) for name, part in rows.items()}
    for part in other.values():
        random.shuffle(part)  # type: ignore[attr-defined]
    assert digest(other) == digest(rows)


@pytest.mark.parametrize(
    ("field", "seen"), [("watermark_ms", True), ("open_lists", True), ("log", True), ("in_log", False), ("counted", False)]
)
def test_what_of_the_progress_is_in_the_digest(field: str, seen: bool) -> None:
    values = {"watermark_ms": 7, "open_lists": 7, "log": 7, "in_log": True, "counted": {"events": 7}}
    empty: dict[str, list[Row]] = {name: [] for name in ("users", "pending", "dedupe", "popularity", "meta")}
    before = digest(empty | {"meta": [(PROGRESS, msgspec.msgpack.encode(Progress()))]})
    after = digest(empty | {"meta": [(PROGRESS, msgspec.msgpack.encode(Progress(**{field: values[field]})))]})
    assert (before["progress"] != after["progress"]) is seen
    assert digest(empty) == before  # nothing yet is the beginning


admitted = strategies.logs(size=16).map(lambda log: [(r, n, r.ts) for r, n, _ in log])


@given(admitted, st.data())
def test_dropping_doubling_or_swapping_what_was_admitted_changes_the_digest(log: Log, data: st.DataObject) -> None:
    partition, effects = applied(log)
    refused = {d.offset for d in effects.dead}
    used = [n for n, (record, _, _) in enumerate(log) if n not in refused and hasattr(record, "user_id")]
    before = digest(rows_of(partition))

    def changed(other: Log) -> bool:
        return digest(rows_of(applied(other)[0])) != before

    if used:
        at = data.draw(st.sampled_from(used), label="at")
        twin = [n for n, (_, name, _) in enumerate(log) if name == log[at][1] and n != at]
        if not twin:  # a repeat would take its place
            assert changed(log[:at] + log[at + 1 :])
        assert changed([*log[:at], (log[at][0], "a further one", log[at][2]), *log[at:]])
    pairs = [(a, b) for a, b in zip(used, used[1:], strict=False) if b == a + 1 and log[a][1] != log[b][1]]
    if pairs:
        a, b = data.draw(st.sampled_from(pairs), label="swap")
        other = [*log[:a], log[b], log[a], *log[b + 1 :]]
        if not {d.offset for d in applied(other)[1].dead} - refused:
            assert changed(other)


def test_repeats_and_what_was_refused_leave_the_digest_as_it_was() -> None:
    log = log_of(at(0, "play"), at(1, "skip", "j"))
    partition, _ = applied(log)
    before = digest(rows_of(partition))
    repeat, late = Arrived(9, 0, log[0][2], log[0][0], log[0][1]), at(-25, "play")
    effects = partition.apply([repeat, Arrived(10, 0, late.ts, late, "late"), Arrived(11, 0, 0, at(0, "play"), "ahead")])
    assert [str(d.reason) for d in effects.dead] == ["duplicate", "late", "future"]
    assert digest(rows_of(partition)) == before


def test_the_digest_of_an_empty_partition_is_that_of_no_rows() -> None:
    made = Partition(PartitionSettings(), Tables.over(), Catalog())
    assert digest(rows_of(made)) == digest({name: [] for name in made.tables.named()})
