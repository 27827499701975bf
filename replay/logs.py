"""Logs of any format as rows of `events` JSON in time order: the very bytes that `segue send` would produce to Kafka.

An adapter (`adapters/<dataset>.py`) is one function, path and options in, `LogRow`s out, and where the data set has
a catalog, one more that gives its items. Replay and send feed the same bytes to the same decoder, so an adapter
judges nothing: a row it can't read comes out as it stood, and the core rejects it with a reason.
"""
from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec
import xxhash

from streams.core.events import Event
from streams.core.items import Item


class LogRow(NamedTuple):
    """One record of a log."""

    line: int  # where it stood: line of the file from 1, row of a table from 1, offset in a topic
    raw: bytes  # JSON of one record, its event_id filled in
    arrival_ms: int | None  # None: it arrived at its own ts


class LogError(ValueError):
    """A log that can't be used as asked; the command line prints it and ends with 2."""


class Format(StrEnum):
    """The logs that can be read from files (`topic` comes from a broker, see `streams.topics`)."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    KUAIRAND = "kuairand"
    OPEN_BANDIT = "open-bandit"
    AMAZON_CROSS_DOMAIN = "amazon-cross-domain"
    THIRTY_MUSIC = "30music"


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """How a table's columns become fields of an event (`csv`, `parquet`, and `jsonl` with other names)."""

    fields: dict[str, str] = {}  # field, `context.NAME` or `also.ACTION` -> column; further columns of an event's own names map themselves
    constants: dict[str, str] = {}  # field -> value for every row
    actions: dict[str, str] = {}  # value in the action column -> action; others stay as they are
    time: str = "ms"  # unit of ts and arrival: ms | s | us | iso (without zone: UTC)

    def __post_init__(self) -> None:
        if self.time not in ("ms", "s", "us", "iso"):
            raise ValueError(f"time unit {self.time!r}: expected ms, s, us or iso")

    @property
    def plain(self) -> bool:
        """Nothing to change: the rows are events already."""
        return self == Columns()


def read(paths: Sequence[Path], form: Format, columns: Columns, sort: bool = False) -> Iterator[LogRow]:
    """The rows of one or several files, in time order, checked; `sort` puts them in order (in memory) instead."""
    if sort:
        yield from _sorted([row for path in paths for row in _rows(path, form, columns)])
        return
    last = -1
    for path in paths:
        for row in _rows(path, form, columns):
            time = time_of(row)
            if time is not None:
                if time < last:
                    raise LogError(
                        f"{path}:{row.line}: out of time order: {time} comes after {last}; pass --sort to order the log in memory first"
                    )
                last = time
            yield row


def items(paths: Sequence[Path], form: Format) -> Iterator[Item]:
    """The catalog that lies beside a data set's log; nothing for formats that have none."""
    match form:
        case Format.KUAIRAND:
            from replay.adapters import kuairand

            yield from kuairand.items(paths[0])
        case Format.OPEN_BANDIT:
            from replay.adapters import open_bandit

            yield from open_bandit.items(paths[0])
        case Format.AMAZON_CROSS_DOMAIN:
            from replay.adapters import amazon_cross_domain

            yield from amazon_cross_domain.items(paths[0])
        case Format.JSONL | Format.CSV | Format.PARQUET | Format.THIRTY_MUSIC:
            return


def session(form: Format) -> Callable[[Event], str | None]:
    """What says of which session of its user an event is; None where a log doesn't tell."""
    match form:
        case Format.THIRTY_MUSIC:
            from replay.adapters import thirty_music

            return thirty_music.session
        case _:
            return lambda event: None


def items_file(path: Path) -> Iterator[Item]:
    """A catalog of one's own: JSON lines of items, as `PUT /v1/items` takes them."""
    decoder = msgspec.json.Decoder(Item)
    for number, line in lines(path):
        if line:
            try:
                yield decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise LogError(f'{path}:{number}: {error}; an item looks like {{"item_id": "i1", "categories": ["jazz"]}}') from None


def _rows(path: Path, form: Format, columns: Columns) -> Iterator[LogRow]:
    # Each reader is imported when it is asked for: the command line must not wait for polars to read JSON.
    match form:
        case Format.JSONL:
            from replay.adapters import jsonl

            return jsonl.rows(path, columns)
        case Format.CSV:
            from replay.adapters import table

            return table.csv_rows(path, columns)
        case Format.PARQUET:
            from replay.adapters import table

            return table.parquet_rows(path, columns)
        case Format.KUAIRAND:
            from replay.adapters import kuairand

            return kuairand.rows(path)
        case Format.OPEN_BANDIT:
            from replay.adapters import open_bandit

            return open_bandit.rows(path)
        case Format.AMAZON_CROSS_DOMAIN:
            from replay.adapters import amazon_cross_domain

            return amazon_cross_domain.rows(path)
        case Format.THIRTY_MUSIC:
            from replay.adapters import thirty_music

            return thirty_music.rows(path)


class _Peek(msgspec.Struct):
    ts: int


_peek = msgspec.json.Decoder(_Peek)


def time_of(row: LogRow) -> int | None:
    """What the order of a log goes by: arrival where it is known (its events may be late), else ts; None if unreadable."""
    if row.arrival_ms is not None:
        return row.arrival_ms
    try:
        return _peek.decode(row.raw).ts
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _sorted(rows: list[LogRow]) -> Iterable[LogRow]:
    times, last = [], -1
    for row in rows:
        time = time_of(row)
        last = last if time is None else time
        times.append(last)  # what can't be read stays behind the row it stood behind
    return [rows[at] for at in sorted(range(len(rows)), key=times.__getitem__)]


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


def beside(log: Path, *names: str) -> Path | None:
    """A side file in the log's folder, plain or gzipped; names may hold `*`."""
    for name in names:
        for found in sorted(log.parent.glob(name)) + sorted(log.parent.glob(name + ".gz")):
            return found
    return None


def line_id(line: bytes) -> str:
    """The event id of a row that brings none: equal rows are one event."""
    return xxhash.xxh3_128_hexdigest(line)
