"""CSV and Parquet with a column mapping: any table of acts as events (`columns/mapping.py`)."""
from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replay.columns.expressions import Row
from replay.columns.mapping import IDS, Mapping
from replay.log_files import archive_of, opened
from replay.log_rows import Columns, LogError, LogRow, lines, text_lines
from replay.meter import meter

if TYPE_CHECKING:
    import polars

BATCH = 65_536
DELIMITERS = (",", ";", "\t", "|", "::")
SPELLED = {r"\t": "\t", "tab": "\t", "space": " "}  # of delimiters that a shell makes hard to type
MOST_LINES = 100  # of one row: more, and a quote was part of a cell
FOUND = 60  # characters of a row that a complaint quotes

Numbered = Iterator[tuple[int, Row | LogRow]]


class Table(NamedTuple):
    """A table as it stands: its columns, and its rows with their numbers; a row that is none is a record to be rejected."""

    header: list[str]
    rows: Numbered


def csv_rows(path: Path, columns: Columns) -> Iterator[LogRow]:
    """The rows of a delimited file as events."""
    table = csv_table(path, columns)
    return Mapping(columns, table.header, path).rows(table.rows)


def csv_table(path: Path, columns: Columns) -> Table:
    """A delimited file, its cells as text. line = the one on which the row begins: a quoted cell may hold line breaks."""
    head = next((line.decode("utf-8-sig", "backslashreplace") for _, line in lines(path)), "")
    delimiter = SPELLED.get(columns.delimiter, columns.delimiter) or delimiter_of(head)
    first = next(csv_cells(iter([head + "\n"]), delimiter, columns.quotes), [])
    if columns.names and len(first) != len(columns.names):
        raise LogError(f"{path}:1: {len(first)} cells, separated by {delimiter!r}; --columns names {len(columns.names)}")
    header = list(columns.names) or [name.strip() for name in first]
    if doubles := sorted({name for name in header if header.count(name) > 1}):
        raise LogError(f"{path}:1: two columns are named {', '.join(doubles)}; a file without a header wants --columns NAME,NAME,…")
    return Table(header, _csv_rows(path, header, delimiter, columns))


def delimiter_of(head: str) -> str:
    """The delimiter that a line has most of; `,` where it has none.

    >>> delimiter_of("a;b;c,d"), delimiter_of("1::2::3"), delimiter_of("a")
    (';', '::', ',')
    """
    return max(DELIMITERS, key=lambda each: head.count(each) * len(each))


def side_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a side file with a header, by column. Raises LogError where one of these columns is not there."""
    reader = csv.DictReader(text_lines(path))
    header = reader.fieldnames or ()
    if missing := [column for column in columns if column not in header]:
        raise LogError(f"{path}:1: no column {', '.join(missing)}; it has {', '.join(header)}")
    yield from reader


def parquet_rows(path: Path, columns: Columns) -> Iterator[LogRow]:
    """The rows of a Parquet file as events."""
    frame = _scanned(path)
    table = _table(frame, path)
    mapping = Mapping(columns, table.header, path)
    for field in IDS:
        if (column := (mapping.known or {}).get(field)) in table.header:
            _refuse_merged(path, frame, str(column))
    return mapping.rows(table.rows)


def parquet_table(path: Path) -> Table:
    """A Parquet file, read in batches, its cells as Python has them; line = row from 1."""
    return _table(_scanned(path), path)


def _table(frame: polars.LazyFrame, path: Path) -> Table:
    import polars

    def rows() -> Numbered:
        start = n = 0
        with meter().reading(path, lambda: n, frame.select(polars.len()).collect().item()):
            while len(batch := frame.slice(start, BATCH).collect()):
                for n, row in enumerate(batch.iter_rows(named=True), start + 1):
                    yield n, row
                start += BATCH

    return Table(frame.collect_schema().names(), rows())


def _scanned(path: Path) -> polars.LazyFrame:
    import polars

    try:
        if archive_of(path):
            with opened(path) as file:
                return polars.read_parquet(io.BytesIO(file.read())).lazy()
        frame = polars.scan_parquet(path)
        frame.collect_schema()
    except polars.exceptions.PolarsError as error:
        raise LogError(f"{path}: not a Parquet file: {error}") from None
    return frame


def _refuse_merged(path: Path, frame: polars.LazyFrame, column: str) -> None:
    """Raises LogError for a column of ids in floats of less than 64 bits that are too small for them."""
    import polars

    dtype = frame.collect_schema()[column]
    bits = 24 if dtype == polars.Float32 else 11 if dtype == polars.Float16 else 0
    if bits and (frame.select(polars.col(column).abs().max()).collect().item() or 0) >= 2**bits:
        raise LogError(f"{path}: column {column} holds ids from 2^{bits} on in floats that merge them; export it as integers or as text")


def _csv_rows(path: Path, header: Sequence[str], delimiter: str, columns: Columns) -> Numbered:
    numbered = lines(path)
    start = end = at = 0 if columns.names else len(list(islice(numbered, 1)))
    signs = 0  # quotes in the row at hand

    def text() -> Iterator[str]:
        nonlocal at, signs
        for at, line in numbered:
            signs += line.count(b'"')
            yield line.decode("utf-8", "surrogateescape").removeprefix("\ufeff" if at == 1 else "") + "\n"

    try:
        for cells in csv_cells(text(), delimiter, columns.quotes):
            start, end = end + 1, at
            if end - start >= MOST_LINES or (end > start and signs % 2):
                raise LogError(f"{path}:{start}: a quote that opens here is not closed; if quotes are part of the cells, pass --no-quotes")
            signs = 0
            if cells in ([], [""]):
                continue
            if len(cells) > len(header) and any(cells[len(header) :]):
                row = delimiter.join(cells)
                problem = (
                    f"{len(cells)} cells where the header has {len(header)}: {row[:FOUND]}; a delimiter in a cell wants quotes around it"
                )
                yield start, LogRow(start, row.encode("utf-8", "surrogateescape"), None, problem=problem)
            else:
                yield start, dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise LogError(f"{path}:{end + 1}: {error}; if quotes are part of the cells, pass --no-quotes") from None


def csv_cells(text: Iterator[str], delimiter: str, quotes: bool) -> Iterator[list[str]]:
    """The cells of each row of a text. A delimiter of more than one character knows no quotes."""
    if len(delimiter) > 1:
        return (line.rstrip("\n").split(delimiter) for line in text)
    return csv.reader(text, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE, skipinitialspace=False)
