"""Digests: every byte of every row, and what was admitted in which order, is in them."""
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.digest import MARKS, digest
from streams.core.state.rows import PROGRESS, Progress
from streams.core.state.tables import Row, Tables
from tests import strategies
from tests.streams.core.join.test_join import Log, applied, at, log_of


def rows_of(partition: Partition) -> dict[str, list[Row]]:
    return {name: list(table.rows()) for name, table in partition.tables.named().items()}


@given(strategies.logs(size=12), st.data())
def test_any_byte_of_any_row_is_in_the_digest(log: Log, data: st.DataObject) -> None:
    rows = rows_of(applied(log)[0])
    tables = ("users", "pending", "dedupe", "popularity", "co_listening")
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
    empty: dict[str, list[Row]] = {name: [] for name in ("users", "pending", "dedupe", "popularity", "co_listening", "meta")}
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
