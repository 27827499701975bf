"""What `segue send` looks at before it sends, without a broker. With one: tests/faults/test_history.py."""
from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import send_report
from streams.core.join.settings import PartitionSettings
from streams.kafka_io.topics import TopicSettings, partitioner
from streams.send_report import LateLogError, Offsets, Report, refuse_late
from tests.test_house import documented

HOUR, NOW = 3_600_000, 1_900_000_000_000
TOPICS, SETTINGS = TopicSettings(prefix="x", partitions=2), PartitionSettings()


def row(ts: int, user: str = "u", **more: Any) -> bytes:
    return json.dumps({"ts": ts, "user_id": user, "item_id": "i", "action": "play", **more}).encode()


def user_of(partition: int) -> str:
    return next(f"u{n}" for n in range(99) if partitioner("murmur2")(f"u{n}".encode(), 2) == partition)


def test_rows_that_a_partition_would_reject_as_late_are_counted_and_refused_with_the_way_out() -> None:
    """Late: older than the watermark by more than `partition.allowed_lateness_ms`, each row at its user's own partition."""
    a, b = user_of(0), user_of(1)
    rows = [row(NOW - HOUR - 1, a), row(NOW - HOUR, a), row(NOW - 9 * HOUR, b), b"{", row(NOW - 2 * HOUR, a)]
    with pytest.raises(LateLogError) as error:
        refuse_late(rows, {0: NOW}, TOPICS, SETTINGS, "old.jsonl")
    assert str(error.value).startswith(
        "old.jsonl: 2 of 5 rows would be rejected as late (the newest of them: 2030-03-17 16:46 UTC), "
        "since event time in x.events-0 is at 2030-03-17 17:46 UTC, and rows may be 60 min behind it"
    )
    assert "--set topics.prefix=NAME" in str(error.value) and "segue replay" in str(error.value)
    refuse_late(rows[1:2], {0: NOW, 1: NOW}, TOPICS, SETTINGS, "")
    refuse_late(rows, {0: NOW - 9 * HOUR, 1: NOW - 9 * HOUR}, TOPICS, SETTINGS, "")


def test_a_log_for_partitions_without_a_watermark_is_not_read() -> None:
    refuse_late((1 // 0 for _ in range(1)), {}, TOPICS, SETTINGS, "")  # type: ignore[misc]


def kafka(value: bytes, offset: int = 0, timestamp: int = NOW) -> Any:
    return SimpleNamespace(topic="x.events", partition=0, offset=offset, timestamp=timestamp, headers=(), value=value)


def test_the_newest_records_give_the_watermark_that_the_worker_would_have_of_them() -> None:
    """A tick moves it; what is ahead of its arrival, can't be read, or closes a log, doesn't."""
    tick, last = b'{"kind": "tick", "ts": %d}' % (NOW - 5), b'{"kind": "tick", "ts": 0, "last": true}'
    records = [row(NOW - 9), tick, row(NOW + HOUR), b"{", row(NOW - 9), last, b'{"kind": "log-begin", "ts": 0}']
    assert send_report._watermark([kafka(value, n) for n, value in enumerate(records)], SETTINGS) == NOW - 5
    assert send_report._watermark([kafka(b"{"), kafka(last, 1)], SETTINGS) == 0


def test_only_the_status_of_a_worker_tells_watermarks() -> None:
    status = b'{"kind": "worker", "partitions": {"1": {"stored": 7, "watermark_ms": 5, "lag": 0}}}'
    (told,) = send_report._told(kafka(status)).items()
    assert (told[0], told[1].stored, told[1].watermark_ms) == (1, 7, 5)
    for other in (
        b'{"kind": "learner", "partitions": {"1": {}}}',
        b'{"tasks": {}}',
        b"[]",
        b"\xff",
        b"",
        None,
        b'{"kind": "worker", "partitions": 3}',
    ):
        assert send_report._told(kafka(other)) == {}  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 60), min_size=1), st.integers(1, 9))
def test_offsets_are_those_that_were_added_however_they_came(offsets: list[int], unmerged: int) -> None:
    made = Offsets()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(send_report, "UNMERGED", unmerged)
        for offset in offsets:
            made.add(3, offset)
    assert [offset for offset in range(62) if made.has(3, offset)] == sorted(set(offsets))
    assert (made.has(2, offsets[0]), made.ends()) == (False, {3: max(offsets) + 1})


def test_every_field_of_a_report_is_documented_and_none_that_is_not_there() -> None:
    assert set(documented("Sending a log")) == set(Report.__struct_fields__)


@pytest.mark.parametrize(
    ("accepted", "rejected", "waiting", "line"),
    [
        (9, {}, 0, "accepted 9"),
        (6, {"duplicate": 1, "late": 2}, 0, "accepted 6; rejected: duplicate 1, late 2 (`segue dead-letters` shows them)"),
        (None, {}, 4, "4 Kafka records wait for a worker (`segue worker`), which accepts or rejects them"),
        (
            None,
            {"late": 2},
            4,
            "4 Kafka records wait for a worker (`segue worker`), which accepts or rejects them; rejected so far: late 2",
        ),
    ],
)
def test_a_report_says_what_became_of_the_rows(accepted: int | None, rejected: dict[str, int], waiting: int, line: str) -> None:
    report = Report(items=0, rows=9, events=9, records=4, bytes=99, accepted=accepted, rejected=rejected, waiting=waiting)
    assert list(report.lines()) == ["9 rows and 0 items in 4 Kafka records (99 bytes)", line]
