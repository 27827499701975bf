"""Catalogs: JSON lines of items, a table with a column mapping, and what a log itself says of its items."""
from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from replay.log_rows import LogError, lines, text_lines
from streams.core.join.items import Item

TABLES = (".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst", ".bz2")
TEXTS = ("item_id", "domain", "artist_id")  # of a table's numbers, the decimal text
FIELDS = frozenset(Item.__struct_fields__) - {"features"}
SEPARATOR = "|"  # of several categories in one cell
LOOKS = 'an item looks like {"item_id": "i1", "categories": ["jazz"]}'
_row = msgspec.json.Decoder(dict[str, object])


def items(path: Path, columns: Mapping[str, str]) -> Iterator[Item]:
    """The items of a file: CSV or Parquet by its ending, else JSON lines as `PUT /v1/items` takes them.

    `columns`: field -> column; further columns of an item's own names map themselves, as does `features.NAME`. Raises LogError with
    file and line.
    """
    ending = next(suffix for suffix in reversed(["", *path.suffixes]) if suffix.lower() not in PACKED).lower()
    for field in columns:
        if not _known(field):
            raise LogError(f"--items-map {field}: no such field; expected {', '.join(sorted(FIELDS))} or features.NAME")
    if ending in TABLES:
        rows = _parquet(path) if ending == ".parquet" else _csv(path)
    else:
        rows = _objects(path)
    sources: dict[str, str] = {}
    header: list[str] = []
    for number, row in rows:
        if list(row) != header:
            header = list(row)
            missing = sorted(set(columns.values()) - set(header)) if ending in TABLES else []
            if missing:
                raise LogError(f"{path}: no column {', '.join(missing)}; it has {', '.join(header)}")
            sources = {name: name for name in header if _known(name) or name == "features"} | dict(columns)  # `features`: as JSON has them
            if ending in TABLES and "item_id" not in sources:
                raise LogError(f"{path}:{number}: nothing maps to item_id; pass --items-map item_id=COLUMN (it has {', '.join(header)})")
        try:
            yield msgspec.convert(_item(row, sources, of_table=ending in TABLES), Item, strict=ending not in TABLES)
        except msgspec.ValidationError as error:
            raise LogError(f"{path}:{number}: {error}; {LOOKS}") from None


def first_met(met: Iterable[tuple[int, Item]]) -> Iterator[Item]:
    """Items as a log without a catalog describes them, (time, item) of each row; each as at its first row.

    It counts as published the millisecond after: before, nobody could know of it.

    >>> [(item.artist_id, item.published_ts) for item in first_met([(7, Item(item_id="a")), (5, Item(item_id="a", artist_id="x"))])]
    [('x', 6)]
    """
    first: dict[str, tuple[int, Item]] = {}
    for ts, item in met:
        if item.item_id not in first or ts < first[item.item_id][0]:
            first[item.item_id] = ts, item
    for ts, item in first.values():
        yield replace(item, published_ts=max(0, ts + 1))


def _objects(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    for number, line in lines(path):
        if line:
            try:
                yield number, _row.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise LogError(f"{path}:{number}: {error}; {LOOKS}") from None


def _csv(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows of a table with a header, separated by whichever of `,` `;` tab that has most of; (line, cells by column)."""
    texts = text_lines(path)
    head = next(texts, "")
    separator = max(",;\t", key=head.count)
    header = next(csv.reader([head], delimiter=separator), [])
    reader = csv.reader((line + "\n" for line in texts), delimiter=separator)
    end = 1
    for cells in reader:
        start, end = end + 1, 1 + reader.line_num
        if cells:
            yield start, dict(zip(header, cells, strict=False))


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    import polars

    try:
        yield from enumerate(polars.read_parquet(path).iter_rows(named=True), 1)
    except polars.exceptions.PolarsError as error:
        raise LogError(f"{path}: not a Parquet file: {error}") from None


def _known(field: str) -> bool:
    return field in FIELDS or (field.startswith("features.") and len(field) > len("features."))


def _item(row: Mapping[str, object], sources: Mapping[str, str], of_table: bool) -> dict[str, object]:
    """The fields of an item; of tables, empty cells are no value and cells of several categories are cut."""
    item: dict[str, object] = {}
    features: dict[str, object] = {}
    for field, column in sources.items():
        cell = row.get(column)
        if (of_table and (cell is None or cell == "")) or (not of_table and column not in row):
            continue
        if field.startswith("features."):
            features[field[9:]] = cell
        elif field == "categories" and of_table and isinstance(cell, str):
            item[field] = [part.strip() for part in cell.split(SEPARATOR) if part.strip()]
        elif field in TEXTS and of_table:
            item[field] = str(cell)
        else:
            item[field] = cell
    return item | ({"features": features} if features else {})
