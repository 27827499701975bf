"""JSON records: one, or one array of them, a line; or one array, or objects one after another, over as many lines as they take.

Records of our own (events, exposures, ticks …) pass as they stand: `arrival_ms` beside the fields of a record is its arrival, and one
without `event_id` gets the hash of its bytes. Records with other names or times go through the column mapping, as tables do; a column
may be a path into nested objects (`track_metadata.artist_name`).
"""
from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import msgspec

from replay.columns.expressions import Row
from replay.columns.mapping import Mapping, at
from replay.log_rows import Columns, LogError, LogRow, line_id, lines
from streams.core.join.decode import MAX_RECORD_BYTES, text_ids

FIRST = 1_000  # rows whose names are known before the first one is mapped
BUFFER = 1 << 20  # characters of a value over several lines, before it counts as broken
LINES = 4_096  # taken at once of such a file
BETWEEN = " \t\r\n,[]"  # what stands between two values
DEPTH = 6  # of the paths that a complaint lists
BOM = b"\xef\xbb\xbf"
_SEAM = re.compile(r"\n\s*\{|[}\]]\s*,\s*\{")  # where a record may begin behind a broken one
_value = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # finds where a value ends; msgspec judges it


class _Head(msgspec.Struct):
    kind: str = "event"
    event_id: object = None
    arrival_ms: int | None = None
    user_id: object = ""
    item_id: object = ""


_head = msgspec.json.Decoder(_Head)
_pieces = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(dict[str, object])


def rows(path: Path, columns: Columns) -> Iterator[LogRow]:
    """The records of one file; a record of an array carries the number of the line on which it begins."""
    if columns.plain:
        for number, piece in pieces(path):
            yield _record(number, piece)
    else:
        mapping = Mapping(columns, path=path, paths=paths(path))
        yield from mapping.rows(table(path))


def table(path: Path) -> Iterator[tuple[int, Row | LogRow]]:
    """The records of one file as rows of a table; what is no JSON object is a record, to be rejected."""
    for number, piece in pieces(path):
        try:
            yield number, _columns(piece)
        except (msgspec.DecodeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
            yield number, LogRow(number, piece, None)


def paths(path: Path) -> list[str]:
    """The names that the first rows have, with the paths into nested objects."""
    found: dict[str, None] = {}
    for _, row in islice(table(path), FIRST):
        if not isinstance(row, LogRow):
            found.update(dict.fromkeys(_paths(row, "", DEPTH)))
    return list(found)


def check(files: list[Path], columns: Columns) -> None:
    """Raises LogError where something is mapped that no row of the log has."""
    known = list(dict.fromkeys(chain.from_iterable(paths(path) for path in files)))
    missing = {text: option for text, option in Mapping(columns, paths=known).paths.items() if text not in known}
    rest = (row for path in files for _, row in table(path) if not isinstance(row, LogRow)) if missing else iter(())
    for row in rest:
        missing = {text: option for text, option in missing.items() if at(row, text) is None}
        if not missing:
            return
    for text, option in missing.items():
        raise LogError(f"{files[0]}: {option}: no row has {text}; they have {', '.join(known[:40])}")


def pieces(path: Path) -> Iterator[tuple[int, bytes]]:
    """The records of one file as they stand, each with its line."""
    numbered = ((number, line.removeprefix(BOM) if number == 1 else line) for number, line in lines(path))
    head = list(islice(numbered, 2))
    everything = chain(head, numbered)
    if _over_lines([line for _, line in head]):
        yield from _values(everything)
        return
    for number, line in everything:
        if line.lstrip()[:1] != b"[":
            yield number, line
            continue
        try:
            yield from [(number, bytes(piece)) for piece in _pieces.decode(line)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if len(line) > MAX_RECORD_BYTES:
                yield from _values(iter([(number, line)]))
            else:
                yield number, line  # the core saves what can be saved of a broken array


def _over_lines(head: list[bytes]) -> bool:
    """Does the first value of a file go on behind its line? Not where the next line begins like it and is whole."""
    first, second = (*(line.strip() for line in head), b"", b"")[:2]
    if first[:1] not in (b"[", b"{") or _whole(first):
        return False
    return bool(second) and not (len(first) > 1 and first[:1] == second[:1] and _whole(second))


def _whole(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _values(numbered: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """The elements of arrays, and objects one after another, wherever their lines end; what is broken goes to the next seam."""
    text, place, line, ended = "", 0, 1, False
    while True:
        if len(text) - place < BUFFER and not ended:
            more = "".join(each.decode("latin-1") + "\n" for _, each in islice(numbered, LINES))  # a character a byte
            text, place, ended = text[place:] + more, 0, not more
        start = place
        while text[start : start + 1] in BETWEEN and start < len(text):
            start += 1
        line, place = line + text.count("\n", place, start), start
        if place == len(text):
            if ended:
                return
            continue
        try:
            _, end = _value.raw_decode(text, place)
        except (json.JSONDecodeError, RecursionError):
            seam = _SEAM.search(text, place + 1)
            end = seam.end() - 1 if seam else len(text)
        yield line, text[place:end].rstrip(BETWEEN[:-2]).encode("latin-1")
        line, place = line + text.count("\n", place, end), end


def _paths(row: dict[str, object], head: str, depth: int) -> Iterator[str]:
    for name, value in row.items():
        yield head + name
        if isinstance(value, dict) and depth:
            yield from _paths(value, f"{head}{name}.", depth - 1)


def _columns(raw: bytes) -> Row:
    """The fields of a record; what is not UTF-8 in them as lone surrogates, which `Mapping` makes bytes again."""
    try:
        return _row.decode(raw)
    except UnicodeDecodeError:
        found = json.loads(raw.decode("utf-8", "surrogateescape"))
    return found if isinstance(found, dict) else _row.decode(raw)


def _record(number: int, raw: bytes) -> LogRow:
    try:
        head = _head.decode(raw)
    except (msgspec.DecodeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return LogRow(number, raw, None)  # rejected by the core, with its reason
    event_id = line_id(raw)
    if not (isinstance(head.user_id, str) and isinstance(head.item_id, str)):
        raw = text_ids(raw) or raw
    if head.event_id is None and head.kind in ("event", "exposure"):
        body = raw.lstrip()[1:]
        comma = b"" if body.lstrip()[:1] == b"}" else b","
        raw = b'{"event_id":"%b"%b%b' % (event_id.encode(), comma, body)
    return LogRow(number, raw, head.arrival_ms)
