"""Yambda (Yandex Music, 2025): Parquet, `flat`: `multi_event`, or `listens`, `likes`, `unlikes`, `dislikes` and `undislikes` by their
names. By user, so the rows are sorted by time.

| column | event |
| --- | --- |
| uid, item_id | user_id, item_id |
| timestamp (seconds since a moment that is not told) | ts, as if that were 2024-01-01 UTC |
| event_type, else the file's name | listen: `play`; like: `collect`; unlike: `uncollect`; dislike: `dislike` |
| played_ratio_pct, track_length_seconds | played_ms (their product), duration_ms |
| is_organic | context `organic`: 0 where a recommendation led there |

An `undislike` takes a dislike back, for which there is no action: it is left out, and counted. `domain` is `song`; event_id = hash of the
row. line = row from 1.
"""
from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogError, LogRow, line_id
from streams.core.join.events import WEEK_MS

START_MS = int(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC).timestamp()) * 1000
ACTIONS = {"listen": "play", "like": "collect", "unlike": "uncollect", "dislike": "dislike"}
LEFT_OUT = "left out: undislike, for which there is no action"
BATCH = 65_536
NEEDED = ("uid", "timestamp", "item_id")


def rows(path: Path) -> Iterator[LogRow]:
    """The rows of one file."""
    import polars

    try:
        table = polars.scan_parquet(path)
        header = table.collect_schema().names()
    except polars.exceptions.PolarsError as error:
        raise LogError(f"{path}: not a Parquet file: {error}") from None
    of_file = path.name.partition(".")[0].removesuffix("s")
    missing = [name for name in NEEDED if name not in header] + (
        [] if "event_type" in header or of_file in (*ACTIONS, "undislike") else ["event_type"]
    )
    if missing:
        raise LogError(f"{path}: not a file of Yambda (flat): no column {', '.join(missing)}; it has {', '.join(header)}")
    start = 0
    while len(batch := table.slice(start, BATCH).collect()):
        for number, row in enumerate(batch.iter_rows(named=True), start + 1):
            omitted = LEFT_OUT if row.get("event_type", of_file) == "undislike" else ""
            yield LogRow(number, _event(row, of_file), None, omitted=omitted)
        start += BATCH


def _event(row: dict[str, object], of_file: str) -> bytes:
    """The row as JSON of an event. What is missing is missing there too, and the core rejects it."""
    kind = str(row.get("event_type", of_file))
    event: dict[str, object] = {"action": ACTIONS.get(kind, kind), "domain": "song"}
    event |= {field: str(row[name]) for field, name in (("user_id", "uid"), ("item_id", "item_id")) if row[name] is not None}
    if isinstance(seconds := row["timestamp"], int):
        event["ts"] = START_MS + seconds * 1000
    ratio, length = row.get("played_ratio_pct"), row.get("track_length_seconds")
    if isinstance(length, int) and length > 0:
        event["duration_ms"] = length * 1000
        if isinstance(ratio, int | float):
            event["played_ms"] = min(WEEK_MS, round(ratio * length * 10))
    if row.get("is_organic") is not None:
        event["context"] = {"organic": row["is_organic"]}
    event["event_id"] = line_id(msgspec.json.encode(event))
    return msgspec.json.encode(event)
