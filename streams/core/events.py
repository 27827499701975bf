"""Records of the `events` topic: their wire form, their bounds, and decoding that never raises on bad data.

A Kafka record (or a line of a log) holds one JSON record or an array of them. What can't be used comes back
as `Rejected`, a value: the stream goes on and the original goes to the dead-letter topic with its reason.
"""
from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

MAX_RECORD_BYTES = 1 << 20  # of one Kafka value or log line; the broker's own default
MAX_ARRAY = 10_000  # records in one array
MAX_SLOTS = 200  # items of one exposure
MAX_CONTEXT = 64  # keys of a context
KEPT_BYTES = 64 << 10  # of an original, in a dead letter
WEEK_MS = 7 * 86_400_000

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


class Slot(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a served list."""

    item_id: Id
    position: Annotated[int, Meta(ge=0, le=10_000)]
    propensity: Probability | None = None
    score: float | None = None
    popularity: Annotated[tuple[float, ...], Meta(max_length=8)] = ()  # the figures it was scored with
    source: ShortId | None = None  # of the candidate: given, popular, fresh, explore
    module: ShortId | None = None


class Exposure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="exposure"):
    """A list as it was served: written by a worker into the user's own partition."""

    ts: EventTime
    user_id: Id
    request_id: ShortId
    slots: Annotated[tuple[Slot, ...], Meta(max_length=MAX_SLOTS)]
    event_id: ShortId | None = None
    domain: ShortId | None = None
    strategy: ShortId | None = None
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


_event = msgspec.json.Decoder(Event)
_events = msgspec.json.Decoder(list[Event])
_kind = msgspec.json.Decoder(Exposure | Tick | LogBegin)
_pieces = msgspec.json.Decoder(list[msgspec.Raw])
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{},]', re.DOTALL)
_SEAM = re.compile(rb"(?<=\}),\s*(?=\{)")
_KIND = re.compile(rb'"kind"\s*:\s*"(?!event")')


def decode(value: bytes | None) -> list[Record | Rejected]:
    """The records of one Kafka value or log line, each usable or `Rejected`, in order.

    An array with a bad element loses only that element, even where the array as a whole is not valid JSON.
    """
    if not value or value.isspace():
        return [Rejected(Reason.EMPTY, "the value is empty", value or b"")]
    if len(value) > MAX_RECORD_BYTES:
        return [Rejected(Reason.OVERSIZED, f"{len(value):,} bytes, at most {MAX_RECORD_BYTES:,}; send smaller arrays", value)]
    if value.lstrip()[:1] != b"[":
        return [_one(value)]
    try:
        if b'"kind"' not in value:
            events = _events.decode(value)
            if len(events) <= MAX_ARRAY:
                return list(events)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass  # one of them is bad: look at each by itself
    return list(_each(value))


def _each(value: bytes) -> Iterator[Record | Rejected]:
    try:
        pieces = [bytes(p) for p in _pieces.decode(value)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pieces = _split(value)
    if len(pieces) > MAX_ARRAY:
        yield Rejected(Reason.OVERSIZED, f"{len(pieces):,} records in one array, at most {MAX_ARRAY:,}; send smaller arrays", value)
        return
    for piece in pieces:
        whole = _one(piece)
        if isinstance(whole, Rejected) and whole.reason is Reason.MALFORMED and _SEAM.search(piece):
            yield from _salvage(piece)
        else:
            yield whole


def _split(value: bytes) -> list[bytes]:
    """Elements of an array that is not valid JSON as a whole: cut at the commas of depth 1, strings respected."""
    out, depth, start = [], 0, 0
    for token in _TOKEN.finditer(value):
        sign = token.group()
        if sign in (b"[", b"{"):
            depth += 1
            if depth == 1:
                start = token.end()
        elif sign in (b"]", b"}"):
            depth -= 1
            if depth <= 0:
                out.append(value[start : token.start()])
                start = token.end()
                break
        elif sign == b"," and depth == 1:
            out.append(value[start : token.start()])
            start = token.end()
    rest = value[start:].strip()
    if rest:
        out.append(rest)
    return [p.strip() for p in out if p.strip()]


def _salvage(piece: bytes) -> Iterator[Record | Rejected]:
    """Good records behind a broken one that swallowed them: cut at `},{`; what stays bad is one rejection a run."""
    bad: list[bytes] = []
    for part in _SEAM.split(piece):
        one = _one(part.rstrip().removesuffix(b"]")) if part.rstrip().endswith(b"}]") else _one(part)
        if isinstance(one, Rejected):
            bad.append(part)
            continue
        if bad:
            yield Rejected(Reason.MALFORMED, "not valid JSON", b",".join(bad))
            bad = []
        yield one
    if bad:
        yield Rejected(Reason.MALFORMED, "not valid JSON", b",".join(bad))


def _one(raw: bytes) -> Record | Rejected:
    try:
        if b'"kind"' in raw and _KIND.search(raw):
            other: Record = _kind.decode(raw)
            return other
        return _event.decode(raw)
    except RecursionError:
        return Rejected(Reason.TOO_DEEP, "nested too deeply", raw)
    except msgspec.ValidationError as error:
        return Rejected(_reason(str(error)), str(error), raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Rejected(Reason.MALFORMED, str(error), raw)


def _reason(message: str) -> Reason:
    if "Invalid enum value" in message:
        return Reason.UNKNOWN_ACTION
    if "<=" in message or ">=" in message or "length" in message or "out of range" in message:
        return Reason.OUT_OF_BOUNDS
    return Reason.WRONG_TYPE
