"""How much of a log has been read: against the bytes that lie there."""
from __future__ import annotations

import gzip
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from replay.log_files import files, sizes
from replay.log_rows import Columns, LogRow
from replay.logs import Format, names, read
from replay.meter import metered

ROW = '{"ts":%d,"user_id":"u","item_id":"%032x","action":"play"}\n'
T = 1_704_067_200_000
AHEAD = 0.05  # some rows are read before one is given, to tell a wrong clock


def text(rows: int) -> bytes:
    rng = random.Random(7)
    return "".join(ROW % (T, rng.getrandbits(128)) for _ in range(rows)).encode()


def shares(paths: list[Path], form: Format = Format.JSONL, sort: bool = False) -> list[float | None]:
    """After each row, the share that was read."""
    found = files(paths, names(form))
    with metered(sizes(found)) as meter:
        return [meter.share() for _ in read(paths, form, Columns(), sort)]


def climbs(each: list[float | None]) -> Iterator[float]:
    """They only grow, and end with all."""
    known = [share for share in each if share is not None]
    assert len(known) == len(each) and known == sorted(known) and known[-1] == pytest.approx(1.0)
    yield from known


def test_files_count_by_their_bytes_packed_ones_as_they_are_packed(tmp_path: Path) -> None:
    (tmp_path / "1.jsonl").write_bytes(text(30_000))
    (tmp_path / "2.jsonl.gz").write_bytes(gzip.compress(text(30_000), mtime=0))
    plain, packed = (path.stat().st_size for path in sorted(tmp_path.iterdir()))
    share = list(climbs(shares([tmp_path])))
    assert share[29_999] == pytest.approx(plain / (plain + packed), abs=0.01) and packed < plain * 0.7
    assert share[15_000] == pytest.approx(plain / (plain + packed) / 2, abs=0.01)
    assert share[45_000] == pytest.approx((plain + packed / 2) / (plain + packed), abs=0.05)


def test_an_archive_a_table_and_a_sorted_log_are_told_too(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.zip", "w") as zipped:
        zipped.writestr("a.jsonl", text(2_000))
        zipped.writestr("b.jsonl", text(2_000))
    assert list(climbs(shares([tmp_path / "log.zip"])))[1_999] == pytest.approx(0.5, abs=AHEAD)
    pl.DataFrame({"ts": range(T, T + 1_000), "user_id": "u", "item_id": "i", "action": "play"}).write_parquet(tmp_path / "log.parquet")
    assert list(climbs(shares([tmp_path / "log.parquet"], Format.PARQUET)))[499] == pytest.approx(0.5, abs=AHEAD)
    (tmp_path / "log.jsonl").write_bytes(text(1_000))
    assert list(climbs(shares([tmp_path / "log.jsonl"], sort=True)))[249] == pytest.approx(0.25)


def test_a_second_reading_of_the_same_log_moves_nothing_and_the_first_rows_count_as_all(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(text(20_000))
    with metered(sizes([log])) as meter:
        assert meter.share() is None
        first, second = (read([log], Format.JSONL, Columns()) for _ in range(2))
        for _ in range(10_000):
            next(first)
        before = meter.share()
        next(second)
        assert meter.share() == before == pytest.approx(0.5, abs=0.02)
        for _ in first:
            pass
        del second
        rows: Iterator[LogRow] = meter.first(read([log], Format.JSONL, Columns()), 100)
        assert [meter.share() for _ in rows][49] == pytest.approx(0.5, abs=AHEAD)


def test_what_nobody_can_say_is_not_said(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(text(10))
    with metered({}) as meter:
        assert len(list(read([tmp_path / "log.jsonl"], Format.JSONL, Columns()))) == 10
        assert meter.share() is None
