"""A log is read in time order, or says where it is not."""
from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from replay import logs
from replay.log_rows import Columns, LogError, LogRow
from replay.logs import Format


def write(path: Path, *times: int, **more: object) -> Path:
    records = [
        {"event_id": f"{path.stem}{n}", "ts": ts, "user_id": "u", "item_id": "i", "action": "play", **more} for n, ts in enumerate(times)
    ]
    data = b"\n".join(msgspec.json.encode(record) for record in records)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(paths: Sequence[Path], sort: bool = False) -> Iterator[LogRow]:
    return logs.read(paths, Format.JSONL, Columns(), sort, earliest_ts=0)


def times(rows: list[LogRow]) -> list[int]:
    return [msgspec.json.decode(row.raw)["ts"] for row in rows]


def test_several_files_plain_and_packed_are_one_log(tmp_path: Path) -> None:
    paths = [write(tmp_path / "a.jsonl", 1, 2, 2), write(tmp_path / "b.jsonl.gz", 3, 4)]
    assert times(list(read(paths))) == [1, 2, 2, 3, 4]


def test_out_of_order_names_the_line_and_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", 1, 3, 2)
    with pytest.raises(LogError, match=r"a\.jsonl:3: out of time order: 2 comes after 3; pass --sort"):
        list(read([path]))


def test_order_is_checked_over_the_seam_of_two_files(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"b\.jsonl:1: out of time order"):
        list(read([write(tmp_path / "a.jsonl", 5), write(tmp_path / "b.jsonl", 4)]))


def test_sort_is_stable_and_keeps_unreadable_rows_where_they_stood(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    good = b'{"event_id":"%d","ts":%d,"user_id":"u","item_id":"i","action":"play"}'
    path.write_bytes(b"\n".join([good % (1, 7), b"broken", good % (2, 3), good % (3, 7)]))
    rows = list(read([path], sort=True))
    assert [row.line for row in rows] == [3, 1, 2, 4]


def test_late_events_are_in_order_where_arrival_is_known(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = b'{"event_id":"%d","ts":%d,"arrival_ms":%d,"user_id":"u","item_id":"i","action":"play"}'
    path.write_bytes(b"\n".join([line % (1, 100, 100), line % (2, 40, 101)]))
    assert times(list(read([path]))) == [100, 40]


def test_damaged_gzip_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl.gz", *range(1000))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LogError, match=r"a\.jsonl\.gz: the gzip file is damaged"):
        list(read([path]))
