"""JSON lines of our own records (events, exposures, ticks …), one record or one array a line.

`arrival_ms` beside the fields of a record is its arrival. A line without `event_id` gets the hash of its bytes.
Lines with other names or times go through the column mapping, as tables do.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.adapters.table import Mapping
from replay.log_rows import Columns, LogRow, line_id, lines


class _Head(msgspec.Struct):
    kind: str = "event"
    event_id: object = None
    arrival_ms: int | None = None


_head = msgspec.json.Decoder(_Head)
_pieces = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(dict[str, object])


def rows(path: Path, columns: Columns) -> Iterator[LogRow]:
    """The records of one file; a record of an array carries the number of its line."""
    mapping = None if columns.plain else Mapping(columns)
    for number, line in lines(path):
        if line.lstrip()[:1] == b"[":
            try:
                pieces = [bytes(piece) for piece in _pieces.decode(line)]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pieces = [line]  # the core saves what can be saved of a broken array
        else:
            pieces = [line]
        for piece in pieces:
            yield _record(number, piece, mapping)


def _columns(raw: bytes) -> dict[str, object]:
    """The fields of a line; what is not UTF-8 in them as lone surrogates, which `Mapping` makes bytes again."""
    try:
        return _row.decode(raw)
    except UnicodeDecodeError:
        found = json.loads(raw.decode("utf-8", "surrogateescape"))
    return found if isinstance(found, dict) else _row.decode(raw)


def _record(number: int, raw: bytes, mapping: Mapping | None) -> LogRow:
    try:
        if mapping is not None:
            return mapping.row(number, _columns(raw))
        head = _head.decode(raw)
    except (msgspec.DecodeError, json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return LogRow(number, raw, None)  # rejected by the core, with its reason
    if head.event_id is None and head.kind in ("event", "exposure"):
        body = raw.lstrip()[1:]
        comma = b"" if body.lstrip()[:1] == b"}" else b","
        raw = b'{"event_id":"%b"%b%b' % (line_id(raw).encode(), comma, body)
    return LogRow(number, raw, head.arrival_ms)
