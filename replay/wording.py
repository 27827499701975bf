"""What is wrong with a record, in words by which a person can mend the file or the call."""
from __future__ import annotations

import datetime
import re
from typing import Any

import msgspec

from streams.core.join.events import Action, Reason

FOUND_LIMIT = 80  # characters of a found value
_AT = re.compile(r"(?P<what>.*) - at `(?P<path>\$[^`]*)`$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
WANTED = {"ts": "int (ms UTC)", "action": "one of " + ", ".join(action.value for action in Action)}


def message(reason: Reason, detail: str, raw: bytes) -> str:
    """Where, what was expected, what was found, what to do.

    >>> message(Reason.WRONG_TYPE, "Expected `int`, got `str` - at `$.ts`", b'{"ts": "2024-01-01T00:00Z"}')
    '$.ts: expected int (ms UTC), got "2024-01-01T00:00Z"; convert it or pass --time iso'
    """
    match = _AT.match(detail)
    path, what = (match["path"], match["what"]) if match else ("$", detail)
    if missing := _MISSING.match(what):
        return f"{path}.{missing[1]}: missing; add it, or pass --map {missing[1]}=COLUMN"
    if match is None:
        return f"{reason}: {detail}"
    name, looks_like = path.rpartition(".")[2], ""
    found = _found(raw, path)
    if reason is Reason.WRONG_TYPE:
        what = f"expected {WANTED.get(name, what.partition(', got')[0].removeprefix('Expected ').replace('`', ''))}"
    elif reason is Reason.UNKNOWN_ACTION:
        what = f"expected {WANTED['action']}"
    else:
        what, _, looks_like = (what[:1].lower() + what[1:].replace("`", "")).partition("; ")
    hint = f"{looks_like}; convert it or pass --time" if looks_like else _hint(name, reason, found)
    return f"{path}: {what}, got {_quoted(found)}" + (f"; {hint}" if hint else "")


def _hint(name: str, reason: Reason, found: Any) -> str:
    if name == "ts" and isinstance(found, str):
        moment = _moment(found)
        if moment is None:
            return "neither ms since 1970, UTC, nor an ISO 8601 time"
        if moment.tzinfo is None:
            return f"it names no zone; write {moment.isoformat()}Z, or +02:00, say, and pass --time iso"
        return "convert it or pass --time iso"
    if name == "ts" and isinstance(found, float):
        return "convert it or pass --time s"
    if name in ("user_id", "item_id") and isinstance(found, float):
        return "a whole number below 2^53 would be taken as its text; write the id as text"
    if reason is Reason.MALFORMED:
        return "save it as UTF-8"
    if reason is Reason.UNKNOWN_ACTION and isinstance(found, str):
        return f"pass --action {found}=play, say"
    return ""


def _moment(text: str) -> datetime.datetime | None:
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        return None


def _found(raw: bytes, path: str) -> Any:
    """The value at a path of the record, or the raw text where it is not JSON any more."""
    try:
        text = raw.decode("utf-8", "surrogateescape")
        value = msgspec.json.decode("".join([f"\\\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text]))
        for name, index in _STEP.findall(path):
            value = value[int(index)] if index else value[name]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return raw.decode("utf-8", "replace")
    return value


def _quoted(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= FOUND_LIMIT else text[:FOUND_LIMIT] + "…"
