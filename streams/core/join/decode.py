"""Decoding of JSON records, within bounds: bad data never raises.

A Kafka record (or a line of a log) holds one JSON record or an array of them. A record that can't be used comes back
as `Rejected`, a value: the stream goes on and the original goes to the dead-letter topic with its reason.
"""
from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import TypeVar

import msgspec
import numpy as np

from streams.core.join.events import EARLIEST_TS, LATEST_TS, Event, Exposure, LogBegin, Reason, Record, Rejected, Tick

MAX_RECORD_BYTES = 1 << 20  # of one record; the broker's own default for a whole value
MAX_ARRAY = 10_000  # records in one array
MAX_DEPTH = 64  # levels; ours have 4. Deeper ones are refused as such whatever else is wrong with them, or isn't
MAX_DETAIL = 300  # characters: a decoder's complaint quotes what it found, and a dead letter must fit into its topic

T = TypeVar("T")


class _Kind(msgspec.Struct):
    kind: str = "event"


class _Time(msgspec.Struct):
    ts: int


_AT_TS = " - at `$.ts`"
_ts = msgspec.json.Decoder(_Time)
_event = msgspec.json.Decoder(Event)
_events = msgspec.json.Decoder(list[Event])
_kind_of = msgspec.json.Decoder(_Kind)
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_kind: msgspec.json.Decoder[Exposure | Tick | LogBegin] = msgspec.json.Decoder(Exposure | Tick | LogBegin)
ELEMENTS = msgspec.json.Decoder(list[msgspec.Raw])  # of an array, as they stand

_NUMBER_ID = re.compile(r"got `(?:int|float)` - at `\$(?:\.slots\[[^`]*\])?\.(?:user|item)_id`$")
_WHOLE = re.compile(rb"-?\d+")
EXACT = 2**53  # from here on a float stands for several integers
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+\\?(?:"|\Z)|[\[\]{}]', re.DOTALL)  # a string that never ends is one token: linear time
_ESCAPED = re.compile(rb"\\u[0-9a-fA-F]{4}")
_BLANK = re.compile(r"\s*")
_NOT_SIGNS = bytes(b for b in range(256) if b not in b'[]{}"')  # what tells nothing of depth
_LEVELS = np.array([(b in b"[{") - (b in b"]}") for b in range(256)], np.int8)  # up or down, by byte
_SEAM = re.compile(r"[,}\]]\s*(?=\{)")  # where a record of an array may begin
_DEEP = f"more than {MAX_DEPTH} levels"
_RECORD_KEYS = frozenset({"ts", "user_id", "action", "kind"})  # a slot or a context has none of them
_prefix = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # finds where an element ends; msgspec judges it
_SLICE = 1 << 13
_LEAST_COST = 1 << 10


def decode(value: bytes | None, earliest_ts: int = 0) -> list[Record | Rejected]:
    """The records of one Kafka value or log line, each usable or `Rejected`, in order; events before `earliest_ts` are rejected.

    An array with a bad element loses only that element, even where the array as a whole is not valid JSON (unless it is
    longer than a record may be: then nothing is searched for, and it is lost as a whole).
    """
    if not value or value.isspace():
        return [Rejected(Reason.EMPTY, "the value is empty", value or b"")]
    if value.lstrip()[:1] != b"[":
        return [_one(value, earliest_ts)]
    try:
        if len(value) <= MAX_RECORD_BYTES and b'"kind"' not in value:
            events = _events.decode(value)
            in_time = min([e.ts for e in events], default=earliest_ts) >= earliest_ts
            if in_time and len(events) <= MAX_ARRAY and not _deeper(value, MAX_DEPTH + 1):
                return list(events)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # one of them is bad: look at each by itself
    return _each(value, earliest_ts)


def _each(value: bytes, earliest_ts: int) -> list[Record | Rejected]:
    try:
        pieces = ELEMENTS.decode(value)
        out = [_one(bytes(piece), earliest_ts) for piece in pieces[: MAX_ARRAY + 1]]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        out = [_oversized(value)] if len(value) > MAX_RECORD_BYTES else _recovered(value, earliest_ts)
    if len(out) > MAX_ARRAY:
        return [Rejected(Reason.OVERSIZED, f"more than {MAX_ARRAY:,} records in one array; send smaller arrays", value)]
    return out


def _recovered(value: bytes, earliest_ts: int) -> list[Record | Rejected]:
    """Elements of an array that is not JSON as a whole: what can be read, and one rejection for each run between.

    Behind something broken, the next record begins at the first seam from which a whole object with a record's keys
    can be read. The work is bounded: after reading 16 times the value's length in vain, the rest is one rejection.
    """
    text = value.decode("latin-1")  # a character a byte, and JSON's signs are ASCII
    out: list[Record | Rejected] = []
    patience = 16 * len(text) + (1 << 20)
    at = _blank(text, text.index("[") + 1)
    while len(out) <= MAX_ARRAY and at < len(text) and not (text[at] == "]" and not text[at + 1 :].strip()):
        if text[at] == ",":
            out.append(Rejected(Reason.EMPTY, "nothing stands between two commas", b""))
            at = _blank(text, at + 1)
            continue
        end, cost = _read(text, at)
        if end is None:
            patience -= cost
            found = len(text)
            for seam in _SEAM.finditer(text, at):
                if patience < 0:
                    break
                end, cost = _read(text, seam.end(), record=True)
                if end is not None:
                    found = seam.end()
                    break
                patience -= cost
            run = value[at:found].rstrip(b", \t\r\n")
            if found == len(text):
                run = run.removesuffix(b"]").rstrip(b", \t\r\n") or run
            deep = _too_deep(run)
            out.append(Rejected(Reason.TOO_DEEP, _DEEP, run) if deep else Rejected(Reason.MALFORMED, "not valid JSON", run))
            at = found
        if end is not None:
            out.append(_one(value[at:end], earliest_ts))
            at = _blank(text, end)
            if text[at : at + 1] == ",":
                at = _blank(text, at + 1)
    return out or [Rejected(Reason.MALFORMED, "not valid JSON", value)]


def _read(text: str, start: int, record: bool = False) -> tuple[int | None, int]:
    """(Where the element at `start` ends, what it cost): None if nothing whole stands there, or (asked for one) no record.

    A cost is in characters. Reads a slice first, since the decoder counts the lines before an error from the text's start.
    """
    for size in (_SLICE, len(text)):
        part = text[start : start + size]
        cut = len(part) < len(text) - start
        try:
            found, length = _prefix.raw_decode(part)
        except RecursionError:
            return None, _LEAST_COST + len(part)
        except json.JSONDecodeError as error:
            if cut and (error.pos > len(part) - 16 or error.msg.startswith("Unterminated")):
                continue  # its end may lie beyond the slice
            return None, _LEAST_COST + (error.pos if cut else len(part))
        if cut and length == len(part):
            continue
        break
    else:
        raise AssertionError("the whole text is never cut")
    end = start + length
    follows = text[end : end + 1] if text[end : end + 1] in (",", "]", "{") else text[end : end + _SLICE].lstrip()[:1]
    whole = follows in ("", ",", "]", "{") and (not record or (isinstance(found, dict) and not _RECORD_KEYS.isdisjoint(found)))
    return (end if whole else None), _LEAST_COST + length


def _blank(text: str, at: int) -> int:
    """Behind white space."""
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _oversized(value: bytes) -> Rejected:
    return Rejected(Reason.OVERSIZED, f"{len(value):,} bytes, at most {MAX_RECORD_BYTES:,}; send smaller ones", value)


def _one(raw: bytes, earliest_ts: int) -> Record | Rejected:
    found = validated(raw, _record)
    if isinstance(found, Rejected) and _NUMBER_ID.search(found.detail) and (as_text := text_ids(raw)) is not None:
        found = validated(as_text, _record)
        found = Rejected(found.reason, found.detail, raw) if isinstance(found, Rejected) else found
    if isinstance(found, Event | Exposure) and found.ts < earliest_ts:
        return Rejected(Reason.OUT_OF_BOUNDS, too_early(found.ts, earliest_ts) + _AT_TS, raw)
    if isinstance(found, Rejected) and found.reason is Reason.OUT_OF_BOUNDS and found.detail.endswith(_AT_TS) and "`int`" in found.detail:
        return Rejected(found.reason, found.detail.removesuffix(_AT_TS) + _looks_like(_ts.decode(raw).ts) + _AT_TS, raw)
    return found


def text_ids(raw: bytes) -> bytes | None:
    """A record whose ids are numbers, as it would be with text: 17 and 17.0 are "17". None where nothing in it can be changed so.

    A float from 2^53 on stays what it is, and is rejected: several ids may have become it.

    >>> text_ids(b'{"user_id":17,"item_id":"a"}'), text_ids(b'{"user_id":9007199254740993.0}')
    (b'{"user_id":"17","item_id":"a"}', None)
    """
    try:
        fields = _fields.decode(raw)
        changed = {name: text for name in ("user_id", "item_id") if (text := _id_text(bytes(fields.get(name, b""))))}
        if "slots" in fields:
            slots = [text_ids(bytes(slot)) or bytes(slot) for slot in ELEMENTS.decode(fields["slots"])]
            changed["slots"] = b"[%b]" % b",".join(slots)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return msgspec.json.encode(fields | {name: msgspec.Raw(text) for name, text in changed.items()}) if changed else None


def _id_text(literal: bytes) -> bytes:
    """The JSON text for a JSON number that is whole; nothing for anything else."""
    if _WHOLE.fullmatch(literal):
        return b'"%b"' % literal
    if literal[:1].isdigit() or literal[:1] == b"-":
        value = float(literal)
        if value.is_integer() and abs(value) < EXACT:
            return b'"%d"' % int(value)
    return b""


def too_early(ts: int, earliest_ts: int) -> str:
    """What is wrong with a time before `earliest_ts`."""
    return f"Expected ms UTC from {str(np.datetime64(earliest_ts, 'ms'))[:10]} on (events.earliest_ts){_looks_like(ts)}"


def _looks_like(ts: int) -> str:
    """The unit in which a time would be of this century.

    >>> _looks_like(1_704_067_200), _looks_like(7)
    ('; it looks like seconds: 2024-01-01', '')
    """
    for unit, per_s in (("seconds", 1), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if EARLIEST_TS <= ts * 1000 // per_s <= LATEST_TS:
            return f"; it looks like {unit}: {str(np.datetime64(ts // per_s, 's'))[:10]}"
    return ""


def _record(raw: bytes) -> Record:
    of_another_kind = b'"kind"' in raw and _kind_of.decode(raw).kind != "event"
    return _kind.decode(raw) if of_another_kind else _event.decode(raw)


def validated(raw: bytes, read: Callable[[bytes], T]) -> T | Rejected:
    """What a decoder makes of one JSON value, or why that can't be used."""
    if not raw or raw.isspace():
        return Rejected(Reason.EMPTY, "the value is empty", raw)
    if len(raw) > MAX_RECORD_BYTES:
        return _oversized(raw)
    reason, detail = Reason.TOO_DEEP, ""
    try:
        found = read(raw)
        if not _deeper(raw, MAX_DEPTH):
            return found
    except RecursionError:
        pass
    except msgspec.ValidationError as error:
        reason, detail = _reason(str(error)), str(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason, detail = Reason.MALFORMED, str(error)
    if reason is Reason.TOO_DEEP or _too_deep(raw):
        return Rejected(Reason.TOO_DEEP, _DEEP, raw)
    if reason is Reason.MALFORMED or " - at `" not in detail:
        reason, detail = (Reason.MALFORMED, broken) if (broken := _not_utf8(raw)) else (reason, detail)
    if len(detail) > MAX_DETAIL:  # what was found may be long, and the path stands behind it
        detail = f"{detail[: MAX_DETAIL // 2]} … {detail[-MAX_DETAIL // 2 :]}"
    return Rejected(reason, detail, raw)


def _not_utf8(raw: bytes) -> str:
    """Which field holds bytes that are not UTF-8, or, of what is no JSON, where they stand; nothing where all are.

    >>> _not_utf8(b'{"user_id": "caf\\xe9"}'), _not_utf8(b"caf\\xe9,1")
    ('not UTF-8: byte 0xe9 - at `$.user_id`', 'not UTF-8: byte 0xe9 behind 3 others')
    """
    try:
        raw.decode()
    except UnicodeDecodeError as error:
        what, place = f"not UTF-8: byte {raw[error.start]:#x}", f" behind {error.start:,} others"
    else:
        return ""
    try:
        path = _broken_text(msgspec.json.decode(_ESCAPED.sub(b"?", raw).decode("latin-1").encode()))  # a character a byte
    except (msgspec.DecodeError, RecursionError):
        path = None
    return what + (place if path is None else f" - at `${path}`")


def _broken_text(value: object) -> str | None:
    """The path to the first text below a value whose characters, as bytes, are not UTF-8."""
    if isinstance(value, str):
        try:
            value.encode("latin-1").decode()
        except UnicodeDecodeError:
            return ""
    steps: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        steps = ((f".{name}", each) for name, each in value.items())
    elif isinstance(value, list):
        steps = ((f"[{n}]", each) for n, each in enumerate(value))
    found = ((step, _broken_text(each)) for step, each in steps)
    return next((step + rest for step, rest in found if rest is not None), None)


def _deeper(value: bytes, limit: int) -> bool:
    """Is valid JSON deeper than that? Never left to the decoder: how far it can go depends on how deep its caller stands."""
    if value.count(b"[") + value.count(b"{") <= limit:
        return False
    if b"\\" in value:
        value = value.replace(b"\\\\", b"").replace(b'\\"', b"")
    signs = np.frombuffer(value.translate(None, _NOT_SIGNS), np.uint8)
    outside = np.cumsum(signs == ord('"')) & 1 == 0  # of strings
    return bool(np.cumsum(_LEVELS[signs] * outside, dtype=np.int32).max(initial=0) > limit)


def _too_deep(raw: bytes) -> bool:
    """The same of what may be no JSON: a sign counts unless it stands in a string."""
    signs = (token.group() for token in _TOKEN.finditer(raw))
    return any(depth > MAX_DEPTH for depth in accumulate((sign in (b"[", b"{")) - (sign in (b"]", b"}")) for sign in signs))


def _reason(message: str) -> Reason:
    if message.startswith("Invalid enum value") and "choice" not in message:
        return Reason.UNKNOWN_ACTION
    if message.startswith("Invalid"):  # of `kind`, of a choice's surface
        return Reason.WRONG_TYPE
    if "<=" in message or ">=" in message or "length" in message or "out of range" in message:
        return Reason.OUT_OF_BOUNDS
    return Reason.WRONG_TYPE
