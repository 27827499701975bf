"""Logs of any format as rows of `events` JSON in time order: the very bytes that `segue send` would produce to Kafka.

An adapter (`adapters/<form of file>.py`, `datasets/<name>.py`) is one function, path and options in, `LogRow`s out, and where the data
set has a catalog, one more that gives its items. Replay and send feed the same bytes to the same decoder, so an adapter
judges nothing: a row it can't read comes out as it stood, and the core rejects it with a reason.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from replay.adapters import jsonl, table
from replay.clocks import in_order
from replay.datasets import (
    amazon_cross_domain,
    kuairand,
    lastfm_1k,
    listenbrainz,
    mind,
    movielens,
    open_bandit,
    piki,
    recbole_inter,
    retailrocket,
    spotify_history,
    taobao,
    thirty_music,
    trivago,
    yambda,
)
from replay.log_files import files
from replay.log_rows import Columns, LogRow
from replay.order import by_time
from streams.core.join.events import EARLIEST_TS, LATEST_TS, Event
from streams.core.join.items import Item
from streams.core.join.settings import PartitionSettings


class Format(StrEnum):
    """The logs that can be read from files (`topic` comes from a broker, see `streams.kafka_io.topics`)."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"
    KUAIRAND = "kuairand"
    OPEN_BANDIT = "open-bandit"
    AMAZON_CROSS_DOMAIN = "amazon-cross-domain"
    THIRTY_MUSIC = "30music"
    LASTFM_1K = "lastfm-1k"
    LISTENBRAINZ = "listenbrainz"
    SPOTIFY_HISTORY = "spotify-history"
    MOVIELENS = "movielens"
    YAMBDA = "yambda"
    MIND = "mind"
    RETAILROCKET = "retailrocket"
    RECBOLE_INTER = "recbole-inter"
    TRIVAGO = "trivago"
    TAOBAO = "taobao"
    PIKI = "piki"


# Published in another order than that of time, or in files that overlap: always sorted.
UNORDERED = frozenset(Format) - {
    Format.JSONL, Format.CSV, Format.PARQUET, Format.KUAIRAND, Format.OPEN_BANDIT, Format.AMAZON_CROSS_DOMAIN, Format.THIRTY_MUSIC,
}  # fmt: skip


def read(paths: Sequence[Path], form: Format, columns: Columns, sort: bool = False, earliest_ts: int = EARLIEST_TS) -> Iterator[LogRow]:
    """The rows of one or several files, in time order, checked; `sort` puts them in order instead, on disk where they are many.

    UNORDERED formats are always put in order. In a log in order of arrival, what a wrong clock sent arrives with the rows around it.

    A folder, a zip archive or a pattern of names stands for its files. A time that the core rejects, as before `earliest_ts`, is no
    time: it neither breaks the order nor is sorted by.
    """
    found = files(paths, names(form))
    if form is Format.JSONL and not columns.plain:
        jsonl.check(found, columns)
    if sort or form in UNORDERED:
        yield from by_time(_timed((row for path in found for row in rows(path, form, columns)), earliest_ts))
        return
    timed = ((path, row, time_of(row, earliest_ts)) for path in found for row in rows(path, form, columns))
    yield from in_order(timed, PartitionSettings().allowed_future_ms)


def names(form: Format) -> tuple[str, ...]:
    """How a format's files are named, packed or not: those of a folder or an archive that are read."""
    match form:
        case Format.JSONL:
            return ("*.jsonl", "*.ndjson", "*.json")
        case Format.CSV:
            return ("*.csv", "*.tsv", "*.txt", "*.dat", "*.data")
        case Format.PARQUET:
            return ("*.parquet", "*.pq")
        case Format.KUAIRAND:
            return ("log_*.csv",)
        case Format.SPOTIFY_HISTORY:
            return ("streaming_history_*.json", "endsong_*.json")
        case Format.LISTENBRAINZ:
            return ("*.jsonl", "*.listens")
        case Format.MOVIELENS:
            return ("ratings.csv", "ratings.dat", "u.data")
        case Format.YAMBDA:
            return ("multi_event.parquet", "listens.parquet", "likes.parquet", "unlikes.parquet", "dislikes.parquet", "undislikes.parquet")
        case Format.MIND:
            return ("behaviors.tsv",)
        case Format.RETAILROCKET:
            return ("events.csv",)
        case Format.RECBOLE_INTER:
            return ("*.inter",)
        case _:
            return ("*",)


def items(paths: Sequence[Path], form: Format) -> Iterator[Item]:
    """The catalog that lies beside a data set's log; nothing for formats that have none."""
    match form:
        case Format.KUAIRAND:
            return kuairand.items(paths[0])
        case Format.OPEN_BANDIT:
            return open_bandit.items(paths[0])
        case Format.AMAZON_CROSS_DOMAIN:
            return amazon_cross_domain.items(paths[0])
        case Format.LASTFM_1K:
            return lastfm_1k.items(paths)
        case Format.LISTENBRAINZ:
            return listenbrainz.items(paths)
        case Format.SPOTIFY_HISTORY:
            return spotify_history.items(paths)
        case Format.MOVIELENS:
            return movielens.items(paths[0])
        case Format.MIND:
            return mind.items(paths[0])
        case Format.RECBOLE_INTER:
            return recbole_inter.items(paths[0])
        case Format.TAOBAO:
            return taobao.items(paths)
        case _:
            return iter(())


def session(form: Format) -> Callable[[Event], str | None]:
    """What says of which session of its user an event is; None where a log doesn't tell.

    >>> session(Format.JSONL)(Event(ts=1, user_id="u", item_id="i", action="play")) is None
    True
    """
    return thirty_music.session if form is Format.THIRTY_MUSIC else lambda event: None


def rows(path: Path, form: Format, columns: Columns) -> Iterator[LogRow]:
    """The rows of one file as they stand."""
    match form:
        case Format.JSONL:
            return jsonl.rows(path, columns)
        case Format.CSV:
            return table.csv_rows(path, columns)
        case Format.PARQUET:
            return table.parquet_rows(path, columns)
        case Format.KUAIRAND:
            return kuairand.rows(path)
        case Format.OPEN_BANDIT:
            return open_bandit.rows(path)
        case Format.AMAZON_CROSS_DOMAIN:
            return amazon_cross_domain.rows(path)
        case Format.THIRTY_MUSIC:
            return thirty_music.rows(path)
        case Format.LASTFM_1K:
            return lastfm_1k.rows(path)
        case Format.LISTENBRAINZ:
            return listenbrainz.rows(path)
        case Format.SPOTIFY_HISTORY:
            return spotify_history.rows(path)
        case Format.MOVIELENS:
            return movielens.rows(path)
        case Format.YAMBDA:
            return yambda.rows(path)
        case Format.MIND:
            return mind.rows(path)
        case Format.RETAILROCKET:
            return retailrocket.rows(path)
        case Format.RECBOLE_INTER:
            return recbole_inter.rows(path)
        case Format.TRIVAGO:
            return trivago.rows(path)
        case Format.TAOBAO:
            return taobao.rows(path)
        case Format.PIKI:
            return piki.rows(path)


class _Peek(msgspec.Struct):
    ts: int


_peek = msgspec.json.Decoder(_Peek)


def time_of(row: LogRow, earliest_ts: int) -> int | None:
    """What the order of a log goes by: arrival where it is known (its events may be late), else ts; None if the core rejects it.

    >>> [time_of(row, 5) for row in (LogRow(1, b'{"ts": 7}', None), LogRow(1, b'{"ts": 7}', 9), LogRow(1, b"{", None))]
    [7, 9, None]
    >>> time_of(LogRow(1, b'{"ts": 7}', None), 8)
    """
    try:
        time = _peek.decode(row.raw).ts if row.arrival_ms is None else row.arrival_ms
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return time if earliest_ts <= time <= LATEST_TS else None


def _timed(rows: Iterator[LogRow], earliest_ts: int) -> Iterator[tuple[int, LogRow]]:
    last = -1
    for row in rows:
        time = time_of(row, earliest_ts)
        last = last if time is None else time
        yield last, row  # what can't be read stays behind the row it stood behind
