"""Records of the `events` topic: their wire form, their bounds, and decoding that never raises on bad data.

A Kafka record (or a line of a log) holds one JSON record or an array of them. What can't be used comes back
as `Rejected`, a value: the stream goes on and the original goes to the dead-letter topic with its reason.
"""
from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

MAX_RECORD_BYTES = 1 << 20  # of one record; the broker's own default for a whole value
MAX_ARRAY = 10_000  # records in one array
MAX_SLOTS = 200  # items of one exposure
MAX_CONTEXT = 64  # keys of a context
MAX_ARMS = 12  # strategies to choose from: with more, each would learn too little
MAX_VECTOR = 64  # numbers of a choice that say who asked
MAX_DEPTH = 64  # levels; ours have 4. Deeper ones are refused as such whatever else is wrong with them, or isn't
MAX_DETAIL = 300  # characters: a decoder's complaint quotes what it found, and a dead letter must fit into its topic
KEPT_BYTES = 64 << 10  # of an original, in a dead letter
WEEK_MS = 7 * 86_400_000

T = TypeVar("T")

Id = Annotated[str, Meta(min_length=1, max_length=256)]
ShortId = Annotated[str, Meta(min_length=1, max_length=64)]
EventTime = Annotated[int, Meta(ge=0, le=4_102_444_800_000)]  # ms UTC, up to the year 2100
Length = Annotated[int, Meta(ge=0, le=WEEK_MS)]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
ContextKey = Annotated[str, Meta(min_length=1, max_length=64)]
ContextText = Annotated[str, Meta(max_length=256)]
Context = Annotated[dict[ContextKey, ContextText | int | float], Meta(max_length=MAX_CONTEXT)]


class Action(enum.StrEnum):
    """What a user did with an item."""

    IMPRESSION = "impression"
    PLAY = "play"
    SKIP = "skip"
    COLLECT = "collect"
    SHARE = "share"
    DISLIKE = "dislike"
    UNCOLLECT = "uncollect"


class Reason(enum.StrEnum):
    """Why a record was not used: label of the metric and field of the dead letter alike."""

    EMPTY = "empty"
    OVERSIZED = "oversized"
    MALFORMED = "malformed"  # not JSON, not UTF-8
    TOO_DEEP = "too_deep"
    WRONG_TYPE = "wrong_type"  # a field is missing or of another type
    UNKNOWN_ACTION = "unknown_action"
    OUT_OF_BOUNDS = "out_of_bounds"
    LATE = "late"
    FUTURE = "future"
    DUPLICATE = "duplicate"


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act (or impression) of one user with one item. `also`: further actions of the same moment."""

    ts: EventTime
    user_id: Id
    item_id: Id
    action: Action
    event_id: ShortId | None = None
    also: Annotated[tuple[Action, ...], Meta(max_length=7)] = ()
    full: bool | None = None
    played_ms: Length | None = None
    duration_ms: Length | None = None
    domain: ShortId | None = None
    request_id: ShortId | None = None
    position: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    module: ShortId | None = None
    strategy: ShortId | None = None
    propensity: Probability | None = None
    context: Context = {}


class ExposedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a served list."""

    item_id: Id
    position: Annotated[int, Meta(ge=0, le=10_000)]
    propensity: Probability | None = None  # of the item in its slot; in lists that Segue made: whatever stands in the others
    propensity_given_above: Probability | None = None  # the same, given the slots above it: what the whole list is judged by
    score: float | None = None
    popularity: Annotated[tuple[float, ...], Meta(max_length=8)] = ()  # the figures it was scored with
    source: ShortId | None = None  # of the candidate: given, popular, fresh, explore
    module: ShortId | None = None
    monetization: float | None = None  # expected value of one exposure of it, as the catalog had it then
    module_propensity: Probability | None = None  # of its module in the module's place, given those above; the item's own is given both


Moments = Annotated[tuple[tuple[float, float], ...], Meta(max_length=MAX_ARMS)]  # mean and variance, by arm


class ArmDraw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which strategies could have made a list or a page, and what chance each had: the policy that acted (MODEL.md section 6)."""

    surface: Literal["page", "list"]
    arms: Annotated[tuple[ShortId, ...], Meta(max_length=MAX_ARMS)]
    chances: Annotated[tuple[Probability, ...], Meta(max_length=MAX_ARMS)]  # computed, exploring included; they sum to 1
    segment: Annotated[int, Meta(ge=0)]
    activity: Annotated[float, Meta(ge=0)] = 0.0  # what the segment follows from: acts so far, decayed,
    domain: Annotated[int, Meta(ge=0)] = 0  # and the key of the domain that most of them are in
    version: Annotated[int, Meta(ge=0)] = 0  # of the posteriors
    revenue_weight: float = 0.0  # against experience's 1
    experience: Moments = ()  # of the posteriors that the chances follow from
    revenue: Moments = ()  # the same, as a share of the most that counts
    vector: Annotated[tuple[float, ...], Meta(max_length=MAX_VECTOR)] = ()  # what the ranker knew of the user, where that was looked at


class Exposure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="exposure"):
    """A list as it was served: written by a worker into the user's own partition."""

    ts: EventTime
    user_id: Id
    request_id: ShortId
    slots: Annotated[tuple[ExposedItem, ...], Meta(max_length=MAX_SLOTS)]
    event_id: ShortId | None = None
    domain: ShortId | None = None
    strategy: ShortId | None = None
    choice: ArmDraw | None = None  # how the strategy came to be; None where the request named it
    context: Context = {}
    model_version: int = 0
    model_age_ms: int = 0


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="tick"):
    """Time as a record of the partition: written after quiet; `last` ends a log and closes all its joins.

    A time behind the watermark means the watermark: who closes a log need not know it.
    """

    ts: EventTime = 0
    last: bool = False


class LogBegin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="log-begin"):
    """A log follows: until its closing tick the worker writes no ticks of its own."""

    ts: EventTime
    source: Annotated[str, Meta(max_length=256)] = ""


Record = Event | Exposure | Tick | LogBegin


class Rejected(msgspec.Struct, frozen=True):
    """A record that can't be used, as a value."""

    reason: Reason
    detail: str
    raw: bytes  # the original (of the array element, where one)


class _Kind(msgspec.Struct):
    kind: str = "event"


_event = msgspec.json.Decoder(Event)
_events = msgspec.json.Decoder(list[Event])
_kind_of = msgspec.json.Decoder(_Kind)
_kind: msgspec.json.Decoder[Exposure | Tick | LogBegin] = msgspec.json.Decoder(Exposure | Tick | LogBegin)
_pieces = msgspec.json.Decoder(list[msgspec.Raw])

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+\\?(?:"|\Z)|[\[\]{}]', re.DOTALL)  # a string that never ends is one token: linear time
_BLANK = re.compile(r"\s*")
_NOT_SIGNS = bytes(b for b in range(256) if b not in b'[]{}"')  # what tells nothing of depth
_LEVELS = np.array([(b in b"[{") - (b in b"]}") for b in range(256)], np.int8)  # up or down, by byte
_SEAM = re.compile(r"[,}\]]\s*(?=\{)")  # where a record of an array may begin
_DEEP = f"more than {MAX_DEPTH} levels"
_RECORD_KEYS = frozenset({"ts", "user_id", "action", "kind"})  # a slot or a context has none of them
_prefix = json.JSONDecoder(strict=False, parse_int=str, parse_float=str)  # finds where an element ends; msgspec judges it
_SLICE = 1 << 13
_LEAST_COST = 1 << 10


def decode(value: bytes | None) -> list[Record | Rejected]:
    """The records of one Kafka value or log line, each usable or `Rejected`, in order.

    An array with a bad element loses only that element, even where the array as a whole is not valid JSON (unless it is
    longer than a record may be: then nothing is searched for, and it is lost as a whole).
    """
    if not value or value.isspace():
        return [Rejected(Reason.EMPTY, "the value is empty", value or b"")]
    if value.lstrip()[:1] != b"[":
        return [_one(value)]
    try:
        if len(value) <= MAX_RECORD_BYTES and b'"kind"' not in value:
            events = _events.decode(value)
            if len(events) <= MAX_ARRAY and not _deeper(value, MAX_DEPTH + 1):
                return list(events)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # one of them is bad: look at each by itself
    return _each(value)


def _each(value: bytes) -> list[Record | Rejected]:
    try:
        pieces = _pieces.decode(value)
        out = [_one(bytes(piece)) for piece in pieces[: MAX_ARRAY + 1]]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        out = [_oversized(value)] if len(value) > MAX_RECORD_BYTES else _recovered(value)
    if len(out) > MAX_ARRAY:
        return [Rejected(Reason.OVERSIZED, f"more than {MAX_ARRAY:,} records in one array; send smaller arrays", value)]
    return out


def _recovered(value: bytes) -> list[Record | Rejected]:
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
            out.append(_one(value[at:end]))
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


def _one(raw: bytes) -> Record | Rejected:
    return judged(raw, _record)


def _record(raw: bytes) -> Record:
    of_another_kind = b'"kind"' in raw and _kind_of.decode(raw).kind != "event"
    return _kind.decode(raw) if of_another_kind else _event.decode(raw)


def judged(raw: bytes, read: Callable[[bytes], T]) -> T | Rejected:
    """What a decoder makes of one JSON value, or why that can't be used."""
    if not raw or raw.isspace():
        return Rejected(Reason.EMPTY, "the value is empty", raw)
    if len(raw) > MAX_RECORD_BYTES:
        return _oversized(raw)
    try:
        found = read(raw)
        if not _deeper(raw, MAX_DEPTH):
            return found
        reason, detail = Reason.TOO_DEEP, ""
    except RecursionError:
        reason, detail = Reason.TOO_DEEP, ""
    except msgspec.ValidationError as error:
        reason, detail = _reason(str(error)), str(error)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason, detail = Reason.MALFORMED, str(error)
    if reason is Reason.TOO_DEEP or _too_deep(raw):
        return Rejected(Reason.TOO_DEEP, _DEEP, raw)
    if len(detail) > MAX_DETAIL:  # what was found may be long, and the path stands behind it
        detail = f"{detail[: MAX_DETAIL // 2]} … {detail[-MAX_DETAIL // 2 :]}"
    return Rejected(reason, detail, raw)


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
    depth = 0
    for token in _TOKEN.finditer(raw):
        sign = token.group()
        if sign in (b"[", b"{"):
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif sign in (b"]", b"}"):
            depth -= 1
    return False


def _reason(message: str) -> Reason:
    if message.startswith("Invalid enum value") and "choice" not in message:
        return Reason.UNKNOWN_ACTION
    if message.startswith("Invalid"):  # of `kind`, of a choice's surface
        return Reason.WRONG_TYPE
    if "<=" in message or ">=" in message or "length" in message or "out of range" in message:
        return Reason.OUT_OF_BOUNDS
    return Reason.WRONG_TYPE
