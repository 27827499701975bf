"""The first rows of a file that nobody has described: which form it has, how its cells are separated, whether it has a header."""
from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from replay.adapters import jsonl, table
from replay.columns.cells import is_empty, number
from replay.columns.expressions import Row
from replay.log_files import LogError, files, lines, opened, sizes
from replay.log_rows import Columns, LogRow
from replay.logs import Format, names

ROWS = 5_000  # looked at
LINES = 1_000  # by which delimiter and quotes are told
HEAD = 4_096  # bytes by which text is told from what is none
DATA_SETS = (  # a format of its own, by columns that its header has
    (Format.KUAIRAND, {"user_id", "video_id", "time_ms", "is_click", "long_view", "is_rand"}),
    (Format.THIRTY_MUSIC, {"session_id", "user_id", "song_id", "ts", "playtime"}),
    (Format.OPEN_BANDIT, {"timestamp", "item_id", "position", "click", "propensity_score"}),
    (Format.RETAILROCKET, {"timestamp", "visitorid", "event", "itemid", "transactionid"}),
    (Format.TRIVAGO, {"user_id", "session_id", "step", "action_type", "reference", "impressions"}),
    (Format.PIKI, {"liked", "personalized", "song_id", "spotify_popularity"}),
)
TEXT_FORMS = (Format.CSV, Format.JSONL, Format.PARQUET)


class Sample(NamedTuple):
    """The beginning of a log."""

    files: list[Path]
    form: Format
    columns: Columns  # how the table is read: delimiter, quotes, names
    names: list[str]  # of its columns, or the paths of its nested objects
    rows: list[Row]
    header: bool  # the file has one
    left: list[Path]  # files beside them that are of another form, or have other columns


def sample(paths: Sequence[Path]) -> Sample:
    """The beginning of the log that these files, folders, archives or patterns stand for. Raises LogError for what is no log."""
    found = files(paths, [name for form in TEXT_FORMS for name in names(form)])
    alike: dict[tuple[Format, str], list[Path]] = {}
    for path in found:
        try:
            alike.setdefault(_kind(path), []).append(path)
        except LogError:
            if len(found) == 1:
                raise  # of several, an empty one or a picture is left out
    if not alike:
        raise LogError(f"{found[0]}: neither this nor any other of {len(found)} files is text or Parquet")
    (form, _), same = max(alike.items(), key=lambda each: sum(sizes(each[1]).values()))
    left = [path for path in found if path not in same]
    if form is Format.CSV:
        return _delimited(same, left)
    if form is Format.PARQUET:
        header = table.parquet_table(same[0]).header
        rows = _first(table.parquet_table(path).rows for path in same)
        return Sample(same, form, Columns(), list(dict.fromkeys([*header, *_nested(rows)])), rows, True, left)
    rows = _first(jsonl.table(path) for path in same)
    return Sample(same, form, Columns(), list(dict.fromkeys(chain.from_iterable(_names(row, "", 4) for row in rows))), rows, True, left)


def cells(rows: Sequence[Row], name: str) -> list[object]:
    """The cells of a column, those that hold something."""
    from replay.columns.mapping import at

    return [cell for row in rows if not is_empty(cell := at(row, name))]


def _kind(path: Path) -> tuple[Format, str]:
    """The form of a file; of delimited text also its header, or how many cells it has where there is none."""
    form = _form(path)
    if form is not Format.CSV:
        return form, ""
    first = next((line.decode("utf-8-sig", "replace") for _, line in lines(path)), "")
    cells = next(table.csv_cells(iter([first]), table.delimiter_of(first), True), [])
    return form, str(len(cells)) if any(_counts(cell) for cell in cells) else first


def _form(path: Path) -> Format:
    with opened(path) as file:
        head = file.read(HEAD)
    if head[:4] == b"PAR1":
        return Format.PARQUET
    if b"\x00" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        raise LogError(f"{path}: neither text nor Parquet; export it as CSV, JSON or Parquet")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise LogError(f"{path}: the file is empty")
    return Format.JSONL if start[:1] in (b"{", b"[") else Format.CSV


def _delimited(same: list[Path], left: list[Path]) -> Sample:
    head = [line.decode("utf-8-sig", "replace") for _, line in islice(lines(same[0]), LINES)]
    if special := _of_a_data_set(head[0]):
        return Sample(same, special, Columns(), [], [], True, left)
    _, delimiter, quotes = max(
        ((*_agreement(head, delimiter, quotes), -at), delimiter, quotes)
        for at, delimiter in enumerate(table.DELIMITERS)
        for quotes in (True, False)
    )  # fmt: skip
    columns = Columns(delimiter=delimiter, quotes=quotes or len(delimiter) > 1)
    first = table.csv_cells(iter(head), delimiter, quotes)
    top = [cell.strip() for cell in next(first)]
    header = _is_header(top, list(islice(first, 50)))
    if not header:
        columns = replace(columns, names=tuple(f"column{n}" for n in range(1, len(top) + 1)))
    rows = _first(table.csv_table(path, columns).rows for path in same)
    return Sample(same, Format.CSV, columns, top if header else list(columns.names), rows, header, left)


def _of_a_data_set(line: str) -> Format | None:
    return next((form for form, columns in DATA_SETS if columns <= set(line.split(","))), None)


def _agreement(head: list[str], delimiter: str, quotes: bool) -> tuple[float, bool, int]:
    """The share of lines that have the same number of cells, more than one, as most; quotes; and that number."""
    try:
        counts = Counter(len(row) for row in table.csv_cells(iter(head), delimiter, quotes) if row not in ([], [""]))
    except csv.Error:
        counts = Counter[int]()
    cells, rows = counts.most_common(1)[0] if counts else (0, 0)
    return rows / max(1, sum(1 for line in head if line.strip())) if cells > 1 else 0.0, quotes, cells


def _is_header(top: list[str], rows: list[list[str]]) -> bool:
    """Names: different from each other, no numbers, and unlike the cells below: somewhere a number or a time stands below a word."""
    if len(set(top)) < len(top) or not all(top) or any(_counts(cell) for cell in top):
        return False
    below = [[row[at] for row in rows if at < len(row) and row[at]] for at in range(len(top))]
    return any(column and all(_counts(cell) for cell in column) for column in below) or not any(
        name in column for name, column in zip(top, below, strict=True)
    )


def _counts(cell: str) -> bool:
    """Is it a number, or a date?"""
    return isinstance(number(cell, whole=False), int | float) or sum(sign.isdigit() for sign in cell) > len(cell) / 2


def _first(tables: Iterator[Iterator[tuple[int, Row | LogRow]]]) -> list[Row]:
    rows = (row for each in tables for _, row in islice(each, ROWS) if not isinstance(row, LogRow))
    return list(islice(rows, ROWS))


def _nested(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(chain.from_iterable(_names(row, "", 4) for row in rows[:100])))


def _names(row: Row, head: str, depth: int) -> Iterator[str]:
    for name, value in row.items():
        yield head + name
        if isinstance(value, dict) and depth:
            yield from _names(value, f"{head}{name}.", depth - 1)
