"""One record of a log, and how columns become its fields."""
from __future__ import annotations

from typing import NamedTuple

import msgspec
import xxhash

from replay.columns.times import known, zone_of
from replay.log_files import LogError, beside, lines, text_lines

__all__ = ["DRAWN", "Columns", "LogError", "LogRow", "beside", "line_id", "lines", "text_lines"]

DRAWN = "drawn"  # strategy of an exposure that nobody made: its items were drawn beside an act, see `negatives.py`


class LogRow(NamedTuple):
    """One record of a log."""

    line: int  # where it stood: line of the file from 1, row of a table from 1, offset in a topic
    raw: bytes  # JSON of one record, its event_id filled in
    arrival_ms: int | None  # None: it arrived at its own ts
    problem: str = ""  # why it is no record, where the file says more than its bytes do: it is rejected as malformed
    omitted: str = ""  # why it makes no event: `merged: …` into another row's, or `left out: …`; nothing is decoded of it


class Columns(msgspec.Struct, frozen=True, kw_only=True):
    """How a table is read, and how its columns become fields of an event (`csv`, `parquet`, and `jsonl` with other names)."""

    # field, `context.NAME` or `also.ACTION` -> column, dotted path or SQL; further columns of an event's own names map themselves
    fields: dict[str, str] = {}
    constants: dict[str, str] = {}  # field -> value for every row
    labels: dict[str, str] = {}  # action -> SQL expression: the action is among `also` where it holds
    actions: dict[str, str] = {}  # value in the action column -> action, or nothing: left out; others stay as they are
    time: str = "ms"  # of ts and arrival: ms | s | us | ns | iso, or a pattern of strptime
    zone: str = ""  # of times that name none
    epoch_ms: int = 0  # the moment of the log's time 0
    names: tuple[str, ...] = ()  # of the columns, where the table has no header
    delimiter: str = ""  # of a table's cells; nothing: the one that its header has most of
    quotes: bool = True  # a quote around a cell is not part of it

    def __post_init__(self) -> None:
        if not known(self.time):
            raise ValueError(f"time unit {self.time!r}: expected ms, s, us, ns, iso or a pattern such as '%d.%m.%Y %H:%M'")
        zone_of(self.zone)

    @property
    def plain(self) -> bool:
        """Nothing to change: the rows are events already."""
        return self == Columns()


def line_id(line: bytes) -> str:
    """The event id of a row that brings none: equal rows are one event."""
    return xxhash.xxh3_128_hexdigest(line)
