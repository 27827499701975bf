"""The form of a log's times is found in its first rows, or demanded with its column and an example."""
from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest

from replay.log_rows import Columns, LogError
from replay.log_times import with_form
from replay.logs import Format

S, LATEST = 1_700_000_000, 1_800_000_000_000
MAPPED = Columns(fields={"ts": "at"})


def csv(folder: Path, *cells: str) -> Path:
    path = folder / "log.csv"
    path.write_text("at,user_id\n" + "".join(f"{cell},u\n" for cell in cells))
    return path


def form(path: Path, kind: Format = Format.CSV, columns: Columns = MAPPED) -> str:
    return with_form([path], kind, columns, LATEST).time


def test_units_are_found_in_every_format_and_in_computed_times(tmp_path: Path) -> None:
    assert form(csv(tmp_path, str(S), str(S + 1))) == "s"
    assert form(csv(tmp_path, f"{S}000", f"{S}999")) == "ms"
    assert form(csv(tmp_path, "19675", "19676"), columns=Columns(fields={"ts": "at * 86400"})) == "s"
    path = tmp_path / "log.parquet"
    polars.DataFrame({"at": [S * 10**6]}).write_parquet(path)
    assert form(path, Format.PARQUET) == "us"
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"kind": "tick", "ts": 0}) + "\n" + json.dumps({"ts": S, "user_id": "u"}))
    assert form(path, Format.JSONL, Columns()) == "s"


def test_records_of_our_own_that_are_ms_or_wrong_one_by_one_stay_plain(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for times in ([S * 1000], [S * 1000, S], ["2024-01-01T00:00"], [None]):
        path.write_text("\n".join(json.dumps({"ts": ts}) for ts in times))
        assert with_form([path], Format.JSONL, Columns(), LATEST).plain


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["7", "8"], r"log\.csv: column at holds '7': by no unit and no known form .* pass --time .* --epoch"),
        (["2024-01-01T00:00:00"], r"column at holds times without a zone, such as '2024-01-01T00:00:00': name it with --zone UTC"),
        ([str(S), f"{S}000"], r"column at holds '1700000000': by no unit"),
    ],
)
def test_what_has_no_reading_or_no_zone_is_demanded(tmp_path: Path, cells: list[str], problem: str) -> None:
    with pytest.raises(LogError, match=problem):
        form(csv(tmp_path, *cells))


def test_a_zone_that_was_named_is_enough(tmp_path: Path) -> None:
    assert form(csv(tmp_path, "2024-01-01T00:00:00"), columns=Columns(fields={"ts": "at"}, zone="Europe/Berlin")) == "iso"
