"""Fields that are computed from columns: SQL expressions (`rating >= 8`, `ratio * length`, `artist || ' - ' || track`) by polars.

Cells come as text or as the source had them, so what a column is follows from its first cells and from how it is used: the first of
number, text and truth by which the expression has a meaning. A column that is no column of the table is refused, and so is whatever
looks at more than one row. Nothing is evaluated as Python.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from replay.columns.cells import is_empty, number, text_of, truth
from replay.log_files import LogError

if TYPE_CHECKING:
    import polars

BATCH = 4_096  # rows that are computed at once
TEXTS = frozenset({"user_id", "item_id", "action", "also", "domain", "request_id", "module", "strategy", "event_id"})
EXAMPLES: dict[str, list[object]] = {"number": [1.0, 2.0], "text": ["a", "b"], "truth": [True, False]}
FITS = 0.95  # of the first cells: a column of numbers may hold a few others
MOST_COLUMNS = 6  # of one expression: each has three kinds
_QUOTED = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")
_DOTTED = re.compile(r"\b[A-Za-z_]\w*(?:\.\w+)+")
_OTHER_ROWS = re.compile(r"\b(over\s*\(|select\b)", re.IGNORECASE)

Row = dict[str, object]


class _Parsed(NamedTuple):
    expression: polars.Expr
    columns: list[str]
    option: str  # that gives it, for complaints


class Expressions:
    """What is computed, field by field."""

    def __init__(self, texts: dict[str, str], option: str = "--map") -> None:
        """`texts`: field -> expression. Raises LogError for one that is none, or has no meaning for any cells."""
        self._parsed = {field: _parsed(text, f"{option} {field}={text}") for field, text in texts.items()}
        for field, parsed in self._parsed.items():
            _kinds(field, parsed, {})
        self._kinds: dict[str, dict[str, str]] = {}  # field -> column -> number | text | truth, as the first rows have it

    @property
    def columns(self) -> dict[str, str]:
        """The columns that are used, each with the option that names it first."""
        found: dict[str, str] = {}
        for _, columns, option in self._parsed.values():
            for column in columns:
                found.setdefault(column, option)
        return found

    def check(self, columns: Collection[str], path: object) -> None:
        """Raises LogError where a column is used that is not there."""
        for column, option in self.columns.items():
            if column not in columns and column.partition(".")[0] not in columns:
                raise LogError(f"{path}: {option}: no column {column}; it has {', '.join(columns)}")

    def of(self, rows: Sequence[Row]) -> list[dict[str, object]]:
        """The computed fields of each row, None where there is nothing; a cell of the wrong kind stands for itself."""
        import polars

        out: list[dict[str, object]] = [{} for _ in rows]
        for field, parsed in self._parsed.items():
            cells = {column: [row.get(column) for row in rows] for column in parsed.columns}
            kinds = self._kinds[field] if field in self._kinds else self._kinds.setdefault(field, _kinds(field, parsed, cells))
            converted = {column: [_as(kind, cell) for cell in cells[column]] for column, kind in kinds.items()}
            frame = polars.DataFrame([polars.Series(column, converted[column], _dtype(kind)) for column, kind in kinds.items()])
            try:
                values = frame.select(parsed.expression).to_series().to_list()
            except polars.exceptions.PolarsError as error:
                raise LogError(f"{parsed.option}: {_first_line(error)}") from None
            for at, value in enumerate(values):
                odd = (cells[c][at] for c in kinds if converted[c][at] is None and not is_empty(cells[c][at]))
                out[at][field] = next(odd, None) if value is None else value
        return out


def _parsed(text: str, option: str) -> _Parsed:
    import polars

    if _OTHER_ROWS.search(_QUOTED.sub("", text)):
        raise LogError(f"{option}: a window or a query looks at other rows; an expression is about one row")
    try:
        expression = polars.sql_expr(_sql(text))
        columns = list(dict.fromkeys(expression.meta.root_names()))
    except polars.exceptions.PolarsError as error:
        problem = f"neither a column nor an SQL expression: {_first_line(error)}"
        raise LogError(f"{option}: {problem}; a name with blanks or signs stands in double quotes") from None
    if len(columns) > MOST_COLUMNS:
        raise LogError(f"{option}: {len(columns)} columns, at most {MOST_COLUMNS}")
    return _Parsed(expression, columns, option)


def _kinds(field: str, parsed: _Parsed, cells: dict[str, list[object]]) -> dict[str, str]:
    """What each column of an expression is: what its cells can be, so that the expression has a meaning."""
    import polars

    order = ("text", "number", "truth") if field in TEXTS else ("number", "text", "truth")
    every = [dict(zip(parsed.columns, kinds, strict=True)) for kinds in product(order, repeat=len(parsed.columns))]
    every.sort(key=lambda kinds: len(set(kinds.values())))  # stable: all alike before mixtures
    fitting = [kinds for kinds in every if all(_are(kind, cells.get(column, [])) for column, kind in kinds.items())]
    problem = ""
    for kinds in [*fitting, *every]:
        dtype, problem = _meaning(parsed.expression, kinds, problem)
        if dtype is None or (dtype == polars.String and field not in TEXTS and "number" in kinds.values()):
            continue  # numbers joined to text would read 17.0
        return kinds
    raise LogError(f"{parsed.option}: it has no meaning for columns {', '.join(parsed.columns)}: {problem}")


def _are(kind: str, cells: list[object]) -> bool:
    """Are (nearly) all cells of this kind? Of no cells, anything may be true; text can be anything."""
    there = [cell for cell in cells if not is_empty(cell)]
    return sum(_as(kind, cell) is not None for cell in there) >= FITS * len(there)


def _meaning(expression: polars.Expr, kinds: dict[str, str], problem: str) -> tuple[Any, str]:
    """The type of the expression over columns of these kinds, or None, and why it has none (the first such reason)."""
    import polars

    frame = polars.DataFrame([polars.Series(column, EXAMPLES[kind], _dtype(kind)) for column, kind in kinds.items()])
    try:
        found = frame.select(expression)
    except polars.exceptions.PolarsError as error:
        return None, problem or _first_line(error)
    if found.shape != (2, 1):
        return None, "it is not about one row (a constant is --const)"
    return found.dtypes[0], problem


def _sql(text: str) -> str:
    """The text as polars takes it: `==` is `=`, and a dotted name is one name.

    >>> _sql("a.b == 'x == y.z'")
    '"a.b" = \\'x == y.z\\''
    """
    parts = _QUOTED.split(text)
    return "".join(part if at % 2 else _DOTTED.sub(r'"\g<0>"', part.replace("==", "=")) for at, part in enumerate(parts))


def _dtype(kind: str) -> Any:
    import polars

    return {"number": polars.Float64, "text": polars.String, "truth": polars.Boolean}[kind]


def _as(kind: str, cell: object) -> object:
    if is_empty(cell):
        return None
    match kind:
        case "number":
            value = number(int(cell) if isinstance(cell, bool) else cell, whole=False)
            return float(value) if isinstance(value, int | float) else None
        case "truth":
            return truth(cell)
        case _:
            if isinstance(cell, bool):
                return str(cell).lower()
            whole = int(cell) if isinstance(cell, float) and cell.is_integer() else cell
            return text_of(whole).encode("utf-8", "replace").decode()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
