"""The form of a file, its delimiter, quotes and header are told by its first lines."""
from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import polars
import pytest

from replay.inspect.sample import cells, sample
from replay.log_rows import LogError
from replay.logs import Format
from tests.replay.datasets.sample import SAMPLES


def written(folder: Path, text: str, name: str = "log.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "delimiter", "quotes", "header", "names"),
    [
        ("user,item,ts\n" + 'u,"a, b",5\n' * 3, ",", True, True, ["user", "item", "ts"]),
        ("user;item;ts\n" + "u;a, b;5\n" * 3, ";", True, True, ["user", "item", "ts"]),
        ("1::1193::5::978300760\n1::661::3::978302109\n", "::", True, False, ["column1", "column2", "column3", "column4"]),
        ('u\t"Heroes\t5\nu\t7" mix\t6\nv\tx\t7\n', "\t", False, False, ["column1", "column2", "column3"]),
        ('"user","item"\n"u","i"\n"v","i"\n', ",", True, True, ["user", "item"]),
        ("u|i|5\nu|j|6\n", "|", True, False, ["column1", "column2", "column3"]),
    ],
)
def test_delimiter_quotes_and_header(tmp_path: Path, text: str, delimiter: str, quotes: bool, header: bool, names: list[str]) -> None:
    found = sample([written(tmp_path, text)])
    assert (found.form, found.columns.delimiter, found.columns.quotes, found.header) == (Format.CSV, delimiter, quotes, header)
    assert found.names == names and len(found.rows) == text.count("\n") - header


def test_packed_json_and_parquet_are_told_by_what_is_in_them(tmp_path: Path) -> None:
    packed = sample([written(tmp_path, '[{"a": {"b": 7}},\n {"c": ""}]', "export.gz")])
    assert (packed.form, packed.names, cells(packed.rows, "a.b"), cells(packed.rows, "c")) == (Format.JSONL, ["a", "a.b", "c"], [7], [])
    polars.DataFrame({"a": [1, 2], "s": [{"x": 1}, {"x": 2}]}).write_parquet(tmp_path / "log.bin")
    table = sample([tmp_path / "log.bin"])
    assert (table.form, table.names, cells(table.rows, "s.x")) == (Format.PARQUET, ["a", "s", "s.x"], [1, 2])


def test_a_data_set_is_known_by_its_header_and_files_of_another_form_are_named(tmp_path: Path) -> None:
    assert sample([written(tmp_path, "session_id,user_id,song_id,ts,playtime\n")]).form is Format.THIRTY_MUSIC
    folder = tmp_path / "export"
    folder.mkdir()
    plays = [written(folder, "user,item\nu,1\n", name) for name in ("a.csv", "b.csv")]
    extra = written(folder, '{"a": 1}', "extra.json")
    found = sample([folder])
    assert (found.files, found.left) == (plays, [extra])


def test_of_files_with_different_columns_the_largest_kind_is_the_log(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as zipped:
        zipped.writestr("ml/README.txt", "Summary\n=======\n")
        zipped.writestr("ml/empty.csv", "")
        zipped.writestr("ml/movies.csv", "movieId,title\n1,A\n")
        zipped.writestr("ml/ratings_1.csv", "userId,movieId,timestamp\n" + "1,2,1700000000\n" * 9)
        zipped.writestr("ml/ratings_2.csv", "userId,movieId,timestamp\n" + "1,2,1700000000\n")
    found = sample([tmp_path / "ml.zip"])
    assert [path.name for path in found.files] == ["ratings_1.csv", "ratings_2.csv"] and len(found.rows) == 10
    assert [path.name for path in found.left] == ["README.txt", "empty.csv", "movies.csv"]


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.bin").write_bytes(b"SQLite format 3\x00")
    with pytest.raises(LogError, match="neither text nor Parquet; export it as CSV, JSON or Parquet"):
        sample([tmp_path / "log.bin"])


@pytest.mark.parametrize("form", [Format.RETAILROCKET, Format.TRIVAGO, Format.PIKI])
def test_data_sets_with_a_header_of_their_own_are_known_by_it(form: Format) -> None:
    assert sample([SAMPLES / f"{form}.csv"]).form is form
