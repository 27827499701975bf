"""CSV and Parquet with a column mapping: any table of acts as events.

A column with the name of an event's field maps itself, as do `context.NAME` and `also.ACTION` (true: that action is
among `also`); `--map`, `--const`, `--action` and `--time` say the rest. A cell that can't be converted stays as it is,
so that the core rejects the event and the dead letter shows the cell. event_id: the mapped column, else the hash of
the event.
"""
from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from replay.log_rows import Columns, LogError, LogRow, line_id, lines, text_lines
from streams.core.join.events import Action, Event

FIELDS = frozenset(Event.__struct_fields__) | {"arrival"}
REQUIRED = ("ts", "user_id", "item_id", "action")
INTS = frozenset({"played_ms", "duration_ms", "position"})
TIMES = frozenset({"ts", "arrival"})
BATCH = 65_536
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
US = datetime.timedelta(microseconds=1)
ACTIONS = frozenset(action.value for action in Action)
TRUE, FALSE = frozenset({"1", "true", "t", "yes", "y"}), frozenset({"0", "false", "f", "no", "n", ""})


def csv_rows(path: Path, columns: Columns) -> Iterator[LogRow]:
    """The rows of a CSV file with a header, separated by whichever of `,` `;` tab the header has most of."""
    numbered = lines(path)
    head = next((line.decode("utf-8-sig", "backslashreplace") for _, line in numbered), "")
    separator = max(",;\t", key=head.count)
    header = next(csv.reader([head], delimiter=separator), [])
    mapping = Mapping(columns, header, path)
    reader = csv.reader((line.decode("utf-8", "surrogateescape") + "\n" for _, line in numbered), delimiter=separator)
    end = 1
    for cells in reader:
        start, end = end + 1, 1 + reader.line_num  # a quoted cell may hold line breaks
        if cells:
            yield mapping.row(start, dict(zip(header, cells, strict=False)))


def side_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a side file with a header, by column. Raises LogError where one of these columns is not there."""
    reader = csv.DictReader(text_lines(path))
    header = reader.fieldnames or ()
    if missing := [column for column in columns if column not in header]:
        raise LogError(f"{path}:1: no column {', '.join(missing)}; it has {', '.join(header)}")
    yield from reader


def parquet_rows(path: Path, columns: Columns) -> Iterator[LogRow]:
    """The rows of a Parquet file, in batches; line = row from 1."""
    import polars

    try:
        table = polars.scan_parquet(path)
        header = table.collect_schema().names()
    except polars.exceptions.PolarsError as error:
        raise LogError(f"{path}: not a Parquet file: {error}") from None
    mapping = Mapping(columns, header, path)
    start = 0
    while len(batch := table.slice(start, BATCH).collect()):
        for number, row in enumerate(batch.iter_rows(named=True), start + 1):
            yield mapping.row(number, row)
        start += BATCH


class Mapping:
    """Which column is which field, worked out once a table; without a header, at each row.

    >>> Mapping(Columns(fields={"user_id": "listener"}), ["listener", "item_id", "ts", "action"]).known["user_id"]
    'listener'
    """

    def __init__(self, columns: Columns, header: Sequence[str] | None = None, path: Path | None = None) -> None:
        """Raises LogError for a field that an event does not have, a column that is not there, a required field without a column."""
        for field in (*columns.fields, *columns.constants):
            if not _known(field):
                raise LogError(f"no field {field!r}: expected {', '.join(sorted(FIELDS))}, context.NAME or also.ACTION")
        self.columns = columns
        self.known: dict[str, str] | None = None
        if header is not None:
            missing = sorted(set(columns.fields.values()) - set(header))
            if missing:
                raise LogError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
            self.known = self._sources(header)
            absent = [field for field in REQUIRED if field not in self.known and field not in columns.constants]
            if absent:
                hint = f"pass --map {absent[0]}=COLUMN (it has {', '.join(header)}) or --const {absent[0]}=VALUE"
                raise LogError(f"{path}: nothing maps to {', '.join(absent)}; {hint}")

    def _sources(self, header: Sequence[str]) -> dict[str, str]:
        own = {name: name for name in header if _known(name) and name not in self.columns.constants}
        return own | self.columns.fields

    def row(self, number: int, row: dict[str, object]) -> LogRow:
        """One row as an event."""
        sources = self.known if self.known is not None else self._sources(list(row))
        event: dict[str, object] = dict(self.columns.constants)
        context: dict[str, object] = {}
        also = []
        for field, column in sources.items():
            cell = row.get(column)
            if cell is None or cell == "":
                continue
            if field.startswith("context."):
                context[field[8:]] = _context(cell)
            elif field.startswith("also."):
                if _truth(cell) is not False:
                    also.append(field[5:] if _truth(cell) is True else str(cell))
            else:
                event[field] = self._value(field, cell)
        arrival = event.pop("arrival", None)
        if arrival is not None and not isinstance(arrival, int):
            event["ts"] = {"arrival": arrival}  # no time at all: the core rejects the event, and the dead letter shows the cell
        if also:
            event["also"] = also
        if context:
            event["context"] = context
        if "event_id" not in event:
            event["event_id"] = line_id(_json(event))
        return LogRow(number, _json(event), arrival if isinstance(arrival, int) else None)

    def _value(self, field: str, cell: object) -> object:
        if field in TIMES:
            return _time(cell, self.columns.time)
        if field == "action":
            return self.columns.actions.get(str(cell), str(cell))
        if field == "also":
            return [self.columns.actions.get(a, a) for a in str(cell).split("|")] if isinstance(cell, str) else cell
        if field in INTS:
            return _number(cell, whole=True)
        if field == "propensity":
            return _number(cell, whole=False)
        if field == "full":
            truth = _truth(cell)
            return cell if truth is None else truth
        return cell if isinstance(cell, dict) else cell.decode("utf-8", "surrogateescape") if isinstance(cell, bytes) else str(cell)


def _known(field: str) -> bool:
    head, _, rest = field.partition(".")
    if rest:
        return head == "context" or (head == "also" and rest in ACTIONS)
    return field in FIELDS


def _json(event: dict[str, object]) -> bytes:
    """The event as JSON. What was not UTF-8 in the table is not here either, so that the core rejects it."""
    try:
        return msgspec.json.encode(event)
    except UnicodeEncodeError:  # lone surrogates stand for such bytes
        text = json.dumps(event, ensure_ascii=False, default=str)
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _time(cell: object, unit: str) -> object:
    """ms UTC, or the cell as it is: a time without a zone may be any of 26 hours."""
    if isinstance(cell, datetime.datetime):
        return (cell - EPOCH) // US // 1000 if cell.tzinfo else cell
    try:
        if unit == "iso":
            moment = _time(datetime.datetime.fromisoformat(str(cell)), unit)
            return moment if isinstance(moment, int) else cell
        number = _number(cell, whole=unit != "s")
        if not isinstance(number, int | float):
            return cell
        return round(number * 1000) if unit == "s" else int(number) // 1000 if unit == "us" else number
    except (ValueError, OverflowError):
        return cell


def _number(cell: object, whole: bool) -> object:
    """An int where `whole` (12.0 is 12), else an int or float; the cell as it is if it is neither."""
    if isinstance(cell, bool) or not isinstance(cell, str | int | float):
        return cell
    try:
        return int(cell) if not isinstance(cell, float) else int(cell) if cell.is_integer() and whole else cell
    except ValueError:
        pass
    try:
        number = float(cell)
    except ValueError:
        return cell
    return int(number) if whole and number.is_integer() else number


def _truth(cell: object) -> bool | None:
    if isinstance(cell, bool):
        return cell
    text = str(cell).strip().lower().removesuffix(".0")
    return True if text in TRUE else False if text in FALSE else None


def _context(cell: object) -> object:
    """A number where the source has one; text else (a CSV cell is text: "7" may be a code as well as a count)."""
    if isinstance(cell, bool):
        return int(cell)
    return cell if isinstance(cell, int | float | str) else str(cell)
