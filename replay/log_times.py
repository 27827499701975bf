"""In which form the times of a log are, found in its first rows: where they can be read in one way only."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from msgspec.structs import replace

from replay.adapters import jsonl, table
from replay.columns import times
from replay.columns.cells import is_empty
from replay.columns.expressions import Expressions, Row
from replay.columns.mapping import at
from replay.log_files import files
from replay.log_rows import Columns, LogError, LogRow
from replay.logs import Format, names

SAMPLE = 1_000  # rows


def with_form(paths: Sequence[Path], form: Format, columns: Columns, latest_ms: int) -> Columns:
    """The columns with the form of `ts`, where all lies between 1990 and `latest_ms` in one reading alone; other formats know theirs.

    Raises LogError where there is none, or more than one.
    """
    if form not in (Format.JSONL, Format.CSV, Format.PARQUET) or "ts" in columns.constants:
        return columns
    column = columns.fields.get("ts", "ts")
    cells = sample(paths, form, columns, column)
    if all(is_empty(cell) for cell in cells):
        return columns  # the mapping says that it is not there
    found = times.forms(cells, latest_ms)
    if form is Format.JSONL and columns.plain and [each.zoned for each in found] != [True]:
        return columns  # records of our own: the core says what is wrong with each
    if len(found) != 1 or not (found[0].zoned or columns.zone):
        raise LogError(f"{paths[0]}: {times.demand(column, cells, found)}")
    return replace(columns, time=found[0].time)


def sample(paths: Sequence[Path], form: Format, columns: Columns, column: str) -> list[object]:
    """The cells of a column, or of an expression over columns, in the first rows."""
    rows = [row for path in files(paths, names(form)) for row in islice(_rows(path, form, columns), SAMPLE)][:SAMPLE]
    cells = [at(row, column) for row in rows]
    if any(cell is not None for cell in cells) or column.isidentifier():
        return cells
    expressions = Expressions({"ts": column})
    if not all(any(at(row, name) is not None for row in rows) for name in expressions.columns):
        return cells
    flat = [{name: at(row, name) for name in expressions.columns} for row in rows]
    return [computed["ts"] for computed in expressions.of(flat)]


def _rows(path: Path, form: Format, columns: Columns) -> Iterator[Row]:
    match form:
        case Format.CSV:
            numbered = table.csv_table(path, columns).rows
        case Format.PARQUET:
            numbered = table.parquet_table(path).rows
        case _:
            numbered = jsonl.table(path)
    return (row for _, row in numbered if not isinstance(row, LogRow) and row.get("kind", "event") in ("event", "exposure"))
