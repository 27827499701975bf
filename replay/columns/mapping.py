"""Which column is which field of an event: the columns of a table, or the paths of nested JSON, as rows of `events` JSON.

A column with the name of an event's field maps itself, as do `context.NAME` and `also.ACTION` (true: that action is among `also`).
Columns say the rest; what is neither a column nor a path is an SQL expression. A cell that can't be converted stays as it is, so
that the core rejects the event and the dead letter shows the cell. event_id: the mapped column, else the hash of the event.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from replay.columns import times
from replay.columns.cells import context_value, id_text, number, text_of, truth
from replay.columns.expressions import BATCH, Expressions, Row
from replay.log_rows import Columns, LogError, LogRow, line_id
from streams.core.join.events import Action, Event

FIELDS = frozenset(Event.__struct_fields__) | {"arrival"}
REQUIRED = ("ts", "user_id", "item_id", "action")
IDS = frozenset({"user_id", "item_id"})
INTS = frozenset({"played_ms", "duration_ms", "position"})
TIMES = frozenset({"ts", "arrival"})
ACTIONS = frozenset(action.value for action in Action)
WANTED = {"full": "true or false", "propensity": "a number", "action": "one of " + ", ".join(sorted(ACTIONS))}
COMPUTED = "\0"  # before a field, in place of a column
MOST_PLANS = 1_000  # of rows with different names
_PATH = re.compile(r"[^\W\d][\w$@]*(\.[\w$@]+)*")  # of nested JSON; anything else is an expression


_Step = tuple[str, str, Callable[[object], object] | None]


class Mapping:
    """Which column is which field, worked out once a table; without a header, at each row.

    >>> Mapping(Columns(fields={"user_id": "listener"}), ["listener", "item_id", "ts", "action"]).known["user_id"]
    'listener'
    """

    def __init__(
        self, columns: Columns, header: Collection[str] | None = None, path: Path | None = None, paths: Collection[str] = ()
    ) -> None:
        """`paths`: what the first rows have, where there is no header.

        Raises LogError for a field that an event does not have, a column that is not there, a required field without a column, a
        constant of the wrong kind, and an expression that is none.
        """
        self.columns = columns
        self._time = times.reader(columns.time, columns.zone, columns.epoch_ms)
        wanted = columns.fields | {f"also.{action}": text for action, text in columns.labels.items()}
        for field in (*wanted, *columns.constants):
            if not _known(field):
                raise LogError(f"no field {field!r}: expected {', '.join(sorted(FIELDS))}, context.NAME or also.ACTION")
        there = header if header is not None else paths
        computed = {field: text for field, text in wanted.items() if text not in there and not _PATH.fullmatch(text)}
        self._sources = {field: text for field, text in wanted.items() if field not in computed}
        self._expressions = Expressions(computed) if computed else None
        self._computed = tuple(computed)  # in the order of the call: equal logs and calls, equal bytes
        self._plans: dict[tuple[str, ...], list[_Step]] = {}
        self._constants = self._typed(columns.constants)
        self.known: dict[str, str] | None = None
        if header is not None:
            self._check(header, path)

    def _check(self, header: Collection[str], path: Path | None) -> None:
        tops = {name.partition(".")[0] for name in header}
        missing = sorted(text for text in set(self._sources.values()) if text not in header and text.partition(".")[0] not in tops)
        if missing:
            raise LogError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
        if self._expressions:
            self._expressions.check(header, path)
        self.known = self._own(header) | self._sources
        wanted = {*self.known, *self._constants, *self.columns.fields}
        absent = [field for field in REQUIRED if field not in wanted]
        if absent:
            hint = f"pass --map {absent[0]}=COLUMN (it has {', '.join(header)}) or --const {absent[0]}=VALUE"
            raise LogError(f"{path}: nothing maps to {', '.join(absent)}; {hint}, or let `segue inspect {path}` write the command")

    @property
    def paths(self) -> dict[str, str]:
        """What the rows must have somewhere: a column or path, and the option that names it."""
        return {text: f"--map {field}={text}" for field, text in self._sources.items()} | (
            self._expressions.columns if self._expressions else {}
        )

    def rows(self, numbered: Iterable[tuple[int, Row | LogRow]]) -> Iterator[LogRow]:
        """Rows of a table as events, in batches where something is computed; what is a record already passes."""
        if self._expressions is None:
            for line, row in numbered:
                yield row if isinstance(row, LogRow) else self.row(line, row)
            return
        rest = iter(numbered)
        while batch := list(islice(rest, BATCH)):
            tables = [row for _, row in batch if not isinstance(row, LogRow)]
            flat = [{column: at(row, column) for column in self._expressions.columns} for row in tables]
            computed = iter(self._expressions.of(flat))
            for line, row in batch:
                yield row if isinstance(row, LogRow) else self.row(line, row, next(computed))

    def row(self, line: int, row: Row, computed: Row | None = None) -> LogRow:
        """One row as an event."""
        event: dict[str, object] = dict(self._constants)
        context: dict[str, object] = {}
        also: list[object] = []
        for field, column, convert in self._plan(row):
            cell = row[column] if column in row else None if computed is None and "." not in column else self._found(row, column, computed)
            if cell is None or cell == "" or cell != cell:
                continue
            if convert is not None:
                if (value := convert(cell)) is not None:
                    event[field] = value
            elif field.startswith("context."):
                context[field[8:]] = context_value(cell)
            elif (whether := truth(cell)) is not False:
                also.append(field[5:] if whether else text_of(cell))
        if event.get("action") == "":
            return LogRow(line, b"", None, omitted="left out: --action gives it no meaning")
        arrival = event.pop("arrival", None)
        if arrival is not None and not isinstance(arrival, int):
            event["ts"] = {"arrival": arrival}  # no time at all: the core rejects the event, and the dead letter shows the cell
        if also:
            event["also"] = [*_listed(event.get("also", [])), *also]
        if context:
            event["context"] = {**constant, **context} if isinstance(constant := event.get("context"), dict) else context
        raw = _json(event)
        if "event_id" not in event:
            raw = b'%b,"event_id":"%b"}' % (raw[:-1], line_id(raw).encode())
        return LogRow(line, raw, arrival if isinstance(arrival, int) else None)

    def _plan(self, row: Row) -> list[_Step]:
        """Field, column and conversion of what a row has; the same for all rows of a header, or of the same names."""
        names = () if self.known is not None else tuple(row)
        if names not in self._plans:
            sources = self.known if self.known is not None else self._own(row) | self._sources
            steps = [(field, column, self._conversion(field, column)) for field, column in sources.items()]
            steps += [(field, COMPUTED + field, self._conversion(field, field)) for field in self._computed]
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            self._plans[names] = steps
        return self._plans[names]

    @staticmethod
    def _found(row: Row, column: str, computed: Row | None) -> object:
        return computed.get(column.removeprefix(COMPUTED)) if computed and column.startswith(COMPUTED) else at(row, column)

    def _own(self, header: Collection[str]) -> dict[str, str]:
        taken = {*self.columns.constants, *self._computed}
        return {name: name for name in header if _known(name) and name not in taken}

    def _conversion(self, field: str, column: str) -> Callable[[object], object] | None:
        """How a cell becomes the field; None for a part of `context` or `also`."""
        actions = self.columns.actions
        if field in IDS:
            return lambda cell: id_text(cell, column)
        if field in TIMES:
            return self._time
        if field == "action":
            return lambda cell: actions.get(text := text_of(cell).strip(), text)
        if field == "also":
            return lambda cell: [actions.get(a, a) for a in cell.split("|")] if isinstance(cell, str) else cell
        if field in INTS:
            return _rounded if field in self._computed else lambda cell: number(cell, whole=True)
        if field == "propensity":
            return lambda cell: number(cell, whole=False)
        if field == "full":
            return lambda cell: cell if (whether := truth(cell)) is None else whether
        return None if "." in field else _text

    def _typed(self, constants: dict[str, str]) -> dict[str, object]:
        """The constants as their fields want them."""
        out: dict[str, object] = {}
        context: dict[str, object] = {}
        also: list[object] = []
        for field, text in constants.items():
            convert = self._conversion(field, field)
            value = text if convert is None else convert(text)
            ill = isinstance(value, str) and field in {*INTS, *TIMES, "propensity", "full"}
            if ill or (field == "action" and value not in ACTIONS):
                wanted = WANTED.get(field, "a time" if field in TIMES else "a whole number")
                raise LogError(f"--const {field}={text}: expected {wanted}")
            if field.startswith("context."):
                context[field[8:]] = text
            elif field.startswith("also."):
                also += [field[5:]] if truth(text) else []
            else:
                out[field] = value
        return out | ({"also": also} if also else {}) | ({"context": context} if context else {})


def at(row: Row, path: str) -> object:
    """The cell of a column, or what a dotted path leads to; None where it leads nowhere.

    >>> at({"a": {"b": [7, 8]}, "x.y": 1}, "a.b.1"), at({"x.y": 1}, "x.y"), at({}, "a.b")
    (8, 1, None)
    """
    if path in row or "." not in path:
        return row.get(path)
    value: object = row
    for step in path.split("."):
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _rounded(cell: object) -> object:
    value = number(cell, whole=True)
    return round(value) if isinstance(value, float) else value


def _text(cell: object) -> object:
    whole = int(cell) if isinstance(cell, float) and cell.is_integer() else cell
    return whole if isinstance(whole, dict) else text_of(whole)


def _listed(also: object) -> list[object]:
    return also if isinstance(also, list) else [also]


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
