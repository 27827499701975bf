"""Files are one log whatever they are packed in, and a damaged one is named."""
from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars
import pytest

from replay.log_files import LogError, beside, files, lines, text_lines

TEXT = b"a \r\n\nb"


def zstd(data: bytes) -> bytes:
    """Packed by polars, an independent writer of zstd."""
    import io

    out = io.BytesIO()
    polars.DataFrame({"line": data.decode().split("\n")}).write_csv(out, include_header=False, quote_style="never", compression="zstd")
    return out.getvalue()


def pzstd(data: bytes) -> bytes:
    """Two frames, one with no data first (RFC 8878, 3.1.2)."""
    return b"\x50\x2a\x4d\x18\x04\x00\x00\x00size" + zstd(data)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd, pzstd])
def test_lines_are_numbered_from_one_and_lose_their_ends_only(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "log"
    path.write_bytes(pack(TEXT))
    assert list(lines(path)) == [(1, b"a "), (2, b""), (3, b"b")]


@pytest.mark.parametrize(("pack", "name"), [(gzip.compress, "gzip"), (bz2.compress, "bzip2"), (lzma.compress, "xz"), (zstd, "zstd")])
def test_a_damaged_packed_file_is_named_with_the_way_out(tmp_path: Path, pack: Callable[[bytes], bytes], name: str) -> None:
    path = tmp_path / "log.packed"
    whole = pack(bytes(range(32, 127)) * 1_000)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LogError, match=rf"log\.packed: the {name} file is damaged: .*; download it again"):
        list(lines(path))


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name.replace("__", "/").replace("_csv", ".csv").replace("_gz", ".gz").replace("_pdf", ".pdf"), data)
    return path


def test_a_zip_archive_is_the_folder_of_its_files_packed_ones_too(tmp_path: Path) -> None:
    path = archive(tmp_path / "export.zip", b_csv=b"2", a_csv_gz=gzip.compress(b"1"), read_pdf=b"%PDF", sub__c_csv=b"3")
    found = files([path], ("*.csv",))
    assert [file.relative_to(tmp_path).as_posix() for file in found] == ["export.zip/a.csv.gz", "export.zip/b.csv", "export.zip/sub/c.csv"]
    assert [line for file in found for _, line in lines(file)] == [b"1", b"2", b"3"]
    assert files([found[2]], ("*.csv",)) == [found[2]]
    assert beside(found[1], "a*.csv") == found[0]


def test_a_folder_and_a_pattern_stand_for_their_files_in_order_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", ".c.csv", "notes.md"):
        (tmp_path / name).write_text("x")
    both = [tmp_path / "a.csv", tmp_path / "b.csv"]
    assert files([tmp_path], ("*.csv",)) == both == files([tmp_path / "*.csv"], ("*.csv",))
    assert files([tmp_path / "notes.md"], ("*.csv",)) == [tmp_path / "notes.md"]  # who names a file means it


def test_what_stands_for_no_file_is_refused_with_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(LogError, match=r"no file in it is named \*\.csv; it has notes\.md"):
        files([tmp_path], ("*.csv",))
    with pytest.raises(LogError, match="no such file, and no pattern that matches one"):
        files([tmp_path / "x*.csv"], ("*.csv",))
    with pytest.raises(LogError, match=r"an archive; name one of its files"):
        list(lines(archive(tmp_path / "export.zip", a_csv=b"1")))


def test_a_side_file_is_found_plain_before_packed_by_the_first_name_that_is_there(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.touch()
    (tmp_path / "items_2.csv.gz").touch()
    assert beside(log, "users.csv", "items*.csv") == tmp_path / "items_2.csv.gz"
    (tmp_path / "items_1.csv").touch()
    assert beside(log, "users.csv", "items*.csv") == tmp_path / "items_1.csv"
    assert beside(log, "users.csv") is None


def test_text_that_is_not_utf_8_is_named_by_its_place(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes("ä".encode("utf-16"))
    with pytest.raises(LogError, match="the text is UTF-16; save it as UTF-8"):
        list(lines(path))
    path.write_bytes(b"ok\ncaf\xe9")
    with pytest.raises(LogError, match=r"log:2: not UTF-8: byte 0xe9 behind 3 others"):
        list(text_lines(path))
