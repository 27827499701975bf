"""One record of a log, how columns become its fields, and what adapters read files with."""
from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import xxhash


class LogRow(NamedTuple):
    """One record of a log."""

    line: int  # where it stood: line of the file from 1, row of a table from 1, offset in a topic
    raw: bytes  # JSON of one record, its event_id filled in
    arrival_ms: int | None  # None: it arrived at its own ts


class LogError(ValueError):
    """A log that can't be used as asked; the command line prints it and ends with 2."""


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """How a table's columns become fields of an event (`csv`, `parquet`, and `jsonl` with other names)."""

    fields: dict[str, str] = {}  # field, `context.NAME` or `also.ACTION` -> column; further columns of an event's own names map themselves
    constants: dict[str, str] = {}  # field -> value for every row
    actions: dict[str, str] = {}  # value in the action column -> action; others stay as they are
    time: str = "ms"  # unit of ts and arrival: ms | s | us | iso (with a zone)

    def __post_init__(self) -> None:
        if self.time not in ("ms", "s", "us", "iso"):
            raise ValueError(f"time unit {self.time!r}: expected ms, s, us or iso")

    @property
    def plain(self) -> bool:
        """Nothing to change: the rows are events already."""
        return self == Columns()


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines of a plain or gzipped file, numbered from 1, without their ends."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield number, line.rstrip(b"\r\n")
    except (EOFError, gzip.BadGzipFile) as error:
        raise LogError(f"{path}: the gzip file is damaged: {error}; download it again") from None


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a side file as text, without a mark of byte order. Raises LogError at one that is not UTF-8."""
    for number, line in lines(path):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise LogError(f"{path}:{number}: not UTF-8: byte {line[error.start]:#x} behind {error.start:,} others") from None


def beside(log: Path, *names: str) -> Path | None:
    """A side file in the log's folder, plain or gzipped; names may hold `*`."""
    for name in names:
        for found in sorted(log.parent.glob(name)) + sorted(log.parent.glob(name + ".gz")):
            return found
    return None


def line_id(line: bytes) -> str:
    """The event id of a row that brings none: equal rows are one event."""
    return xxhash.xxh3_128_hexdigest(line)
