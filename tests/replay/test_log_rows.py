"""What adapters read files with: lines of plain and packed files, side files, ids of rows, names of columns."""
from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from replay.log_rows import Columns, LogError, beside, line_id, lines


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress])
def test_lines_are_numbered_from_one_and_lose_their_ends_only(tmp_path: Path, pack: object) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(b"a \r\n\nb"))  # type: ignore[operator]
    assert list(lines(path)) == [(1, b"a "), (2, b""), (3, b"b")]


def test_a_damaged_gzip_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress(b"line\n" * 1_000)[:-6])
    with pytest.raises(LogError, match=r"log\.gz: the gzip file is damaged: .*; download it again"):
        list(lines(path))


def test_a_side_file_is_found_plain_before_packed_by_the_first_name_that_is_there(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    (tmp_path / "items_2.csv.gz").touch()
    assert beside(log, "users.csv", "items*.csv") == tmp_path / "items_2.csv.gz"
    (tmp_path / "items_1.csv").touch()
    assert beside(log, "users.csv", "items*.csv") == tmp_path / "items_1.csv"
    assert beside(log, "users.csv") is None


def test_equal_lines_have_one_id_and_it_is_xxh3s() -> None:
    assert line_id(b"") == "99aa06d3014798d86001c324468d497f"  # XXH3's published value of the empty input, 128 bits
    assert line_id(b"a") == line_id(b"a") != line_id(b"b")


def test_columns_that_change_nothing_are_plain_and_an_unknown_unit_is_refused() -> None:
    assert Columns().plain and not Columns(time="s").plain and not Columns(fields={"ts": "at"}).plain
    with pytest.raises(ValueError, match="time unit 'h': expected ms, s, us or iso"):
        Columns(time="h")
