"""An error says what, where, what was found, what to do."""
from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from replay.log_rows import Columns, LogRow
from replay.logs import Format, read
from replay.prequential import of_file
from replay.validate import complaints, validate
from streams.core.join.settings import PartitionSettings


def verdicts(*lines: bytes) -> list[str | None]:
    rows = [LogRow(number, line, None) for number, line in enumerate(lines, 1)]
    return [None if c is None else f"{c.line}: {c.message}" for c in complaints(of_file(rows), PartitionSettings())]


def event(**fields: object) -> bytes:
    return msgspec.json.encode({"event_id": "e", "ts": 1_704_067_200_000, "user_id": "u", "item_id": "i", "action": "play"} | fields)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (event(ts="2024-01-01T00:00:00Z"), '1: $.ts: expected int (ms UTC), got "2024-01-01T00:00:00Z"; convert it or pass --time iso'),
        (
            event(ts="2024-01-01"),
            '1: $.ts: expected int (ms UTC), got "2024-01-01"; it names no zone; '
            "write 2024-01-01T00:00:00Z, or +02:00, say, and pass --time iso",
        ),
        (event(ts="soon"), '1: $.ts: expected int (ms UTC), got "soon"; neither ms since 1970, UTC, nor an ISO 8601 time'),
        (event(ts=1704067200.5), "1: $.ts: expected int (ms UTC), got 1704067200.5; convert it or pass --time s"),
        (
            event(ts=1_704_067_200),
            "1: $.ts: expected ms UTC from 1990-01-01 on (events.earliest_ts), got 1704067200; "
            "it looks like seconds: 2024-01-01; convert it or pass --time",
        ),
        (
            event(action="click"),
            "1: $.action: expected one of impression, play, skip, collect, share, dislike, uncollect, "
            'got "click"; pass --action click=play, say',
        ),
        (event(played_ms=-1), "1: $.played_ms: expected int >= 0, got -1"),
        (event(context={"device": [1]}), '1: $.context[...]: expected int | float | str, got {"device":[1]}'),
        (b'{"ts":1704067200000,"item_id":"i","action":"play"}', "1: $.user_id: missing; add it, or pass --map user_id=COLUMN"),
        (b"", "1: empty: the value is empty"),
        (b"{", "1: malformed: Input data was truncated"),
    ],
)
def test_complaint_names_place_expectation_finding_and_way_out(line: bytes, message: str) -> None:
    (said,) = verdicts(line)
    assert said is not None and said.startswith(message)


def test_good_records_and_duplicates_are_told_apart() -> None:
    first, second, third = verdicts(event(), event(), event(event_id="f"))
    assert first is None and third is None
    assert second is not None and second.startswith("2: duplicate")


def test_late_record_is_named_as_replay_would_reject_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(event(arrival_ms=1_704_067_200_000) + b"\n" + event(event_id="f", ts=1_704_060_000_000, arrival_ms=1_704_067_200_001))
    good, late = complaints(of_file(read([path], Format.JSONL, Columns())), PartitionSettings())
    assert good is None
    assert late is not None and late.reason == "late" and late.line == 2


def test_a_verdict_counts_every_record_and_words_at_most_so_many_complaints_a_reason() -> None:
    lines = [event(event_id="a"), b"{", event(event_id="b", played_ms=-1), b"{", event(event_id="c")]
    rows, updates = [LogRow(number, line, None) for number, line in enumerate(lines, 1)], list[int]()
    verdict = validate("log.jsonl", of_file(rows), [], PartitionSettings(), 1, lambda n, _: updates.append(n))
    assert (verdict.rows, verdict.good, verdict.bad) == (5, 2, {"malformed": 2, "out_of_bounds": 1})
    assert [complaint.split(" ")[0] for complaint in verdict.complaints] == ["log.jsonl:2:", "log.jsonl:3:"]
    assert verdict.evaluate and updates == []  # every thousandth record would be one
