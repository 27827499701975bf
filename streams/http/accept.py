"""Bodies of requests; and events and items over HTTP, from a body to the records of their topics.

Bodies go through the core's own `decode`, so the service refuses exactly what would be a dead letter in the log. Ticks and
`log-begin` records are refused too: only workers and `segue send` write them. A field that nobody reads is a mistake of the sender:
a request with one is refused, events and items with one are taken and the answer names it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

from streams.core import json_fields
from streams.core.join import items
from streams.core.join.decode import MAX_ARRAY, decode, too_early, validated
from streams.core.join.events import EARLIEST_TS, Event, Exposure, Reason, Record, Rejected
from streams.core.join.items import Item
from streams.core.json_fields import about
from streams.core.lookup.similar import SimilarRequest
from streams.core.serving.pages import PageRequest
from streams.core.serving.recommend import SlateRequest
from streams.core.serving.requests import ServingRequest
from streams.http.batch import BatchRequest
from streams.http.entrance import Refusal
from streams.kafka_io.messages import Out
from streams.kafka_io.send import ARRAY_BYTES, ARRAY_RECORDS

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R", bound=msgspec.Struct)
MAX_WARNINGS = 20  # different ones in one answer; of the others, how many
WAY: dict[type[msgspec.Struct], str] = {
    SlateRequest: "send a request for a list, as /docs describes", PageRequest: "send a request for a page, as /docs describes",
    BatchRequest: "send a request for lists of many users, as /docs describes",
    SimilarRequest: "send a request for similar items, as /docs describes",
}  # fmt: skip
_READ: dict[type[msgspec.Struct], Callable[[bytes], Any]] = {kind: json_fields.reader(kind) for kind in WAY}


class TimeBounds(NamedTuple):
    """What times an event may have."""

    earliest_ts: int = EARLIEST_TS
    now_ms: int | None = None  # None: it may be of any time to come
    allowed_future_ms: int = 0

    def refused(self, ts: int) -> Rejected | None:
        """Why an event must not have this time."""
        if ts < self.earliest_ts:
            return Rejected(Reason.OUT_OF_BOUNDS, too_early(ts, self.earliest_ts), b"")
        if self.now_ms is not None and ts > self.now_ms + self.allowed_future_ms:
            most = f"at most {self.allowed_future_ms:,} ms from now (partition.allowed_future_ms)"
            return Rejected(Reason.FUTURE, f"{ts} is {ts - self.now_ms:,} ms ahead of this worker's clock, and may be {most}", b"")
        return None


ANY_TIME = TimeBounds()


class NotTaken(msgspec.Struct, frozen=True, kw_only=True):
    """An element that was not taken, by its place in the array."""

    index: Annotated[int, about("of the element")]
    reason: Annotated[Reason, about("why")]
    detail: Annotated[str, about("what was found, and where in the element")]


class FieldWarning(msgspec.Struct, frozen=True, kw_only=True):
    """A field of elements that were taken, which may not be what their sender meant."""

    field: Annotated[str, about("its path; `[...]` is any place of an array")]
    detail: Annotated[str, about("what is odd about it")]
    index: Annotated[int, about("of the first element with it")]
    elements: Annotated[int, about("how many have it")]


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an array. The accepted ones are in Kafka."""

    accepted: Annotated[int, about("elements that are in Kafka")]
    rejected: Annotated[list[NotTaken], about("elements that are not")]
    warnings: Annotated[list[FieldWarning], about("fields that may not be what their sender meant")]


class EventRow(NamedTuple):
    """A record for `events`, and what it holds, in order."""

    out: Out
    holds: list[Event | Exposure]


class Unusable(Refusal):
    """Nothing of the body can be used."""

    def __init__(self, rejected: Sequence[Rejected], found: int, wanted: str) -> None:
        first = rejected[0]
        among = f"none of {found:,} can be used; the first: " if found > 1 else ""
        super().__init__(400, f"{among}{first.reason}: {first.detail}", "the body", f"send {wanted}, as /docs describes")
        self.reasons = [one.reason for one in rejected]


class Decoded(Generic[T]):
    """The elements of a body: those that can be used, and for each other one its place and reason."""

    def __init__(self, found: Sequence[T | Rejected], wanted: str, warnings: Sequence[FieldWarning] = ()) -> None:
        """Raises Unusable where something was found and none of it can be used."""
        self.warnings = list(warnings)
        self.good: list[T] = [one for one in found if not isinstance(one, Rejected)]
        bad = [(n, one) for n, one in enumerate(found) if isinstance(one, Rejected)]
        self.rejected = [NotTaken(index=n, reason=one.reason, detail=one.detail) for n, one in bad]
        if bad and not self.good:
            raise Unusable([one for _, one in bad], len(found), wanted)


def request(body: bytes, kind: type[R], times: TimeBounds = ANY_TIME) -> R:
    """Decode a request. Raises Refusal where it can't be used, or has a field that nobody reads."""
    found = validated(body, _READ[kind])
    if isinstance(found, Rejected):
        raise Refusal(400, f"{found.reason}: {found.detail}", "the body", WAY[kind])
    unknown = list(json_fields.unknown(msgspec.json.decode(body), kind))
    if unknown:
        named = [f"{path}{_perhaps(path, kind)}" for path in unknown[:MAX_WARNINGS]]
        more = f", and {len(unknown) - len(named):,} more" if len(named) < len(unknown) else ""
        fields = ", ".join(sorted(kind.__struct_encode_fields__))
        raise Refusal(400, f"no such field: {', '.join(named)}{more}", "the body", f"leave it out; the fields are {fields}")
    taken: R = found
    for n, play in enumerate(taken.plays if isinstance(taken, ServingRequest) else ()):
        refused = times.refused(play.ts) if play.ts is not None else None
        if refused is not None:
            raise Refusal(400, f"{refused.reason}: {play.ts}: {refused.detail}", f"the body, $.plays[{n}].ts", WAY[kind])
    return taken


def events(body: bytes, times: TimeBounds = ANY_TIME, lines: bool = False) -> Decoded[Event | Exposure]:
    """Decode feedback, impressions, and slates that a ranker of the client's own has served. `lines`: each is a JSON value."""
    found = _found(body, lambda value: decode(value, times.earliest_ts), lines)
    return Decoded([_of_others(record, times) for record in found], _wanted("an event", "events"), _unknown(body, found, lines))


def catalog(body: bytes, times: TimeBounds = ANY_TIME, lines: bool = False) -> Decoded[Item]:
    """Decode items; `lines` as of events."""
    found = _found(body, items.decode, lines)
    warnings = _unknown(body, found, lines) + _item_times(found, times.earliest_ts)
    return Decoded(found, _wanted("an item", "items"), warnings)


def _wanted(one: str, several: str) -> str:
    return f"{one}, an array of {several}, or (with content-type: application/x-ndjson) one a line"


def _found(body: bytes, read: Callable[[bytes], list[U]], lines: bool) -> list[U | Rejected]:
    """Elements of a body, each usable or not, in order."""
    if not lines:
        return [*read(body)]
    found: list[U | Rejected] = []
    for line in _lines(body):
        found += read(line)
        if len(found) > MAX_ARRAY:
            return [Rejected(Reason.OVERSIZED, f"more than {MAX_ARRAY:,} records in one body; send smaller ones", body)]
    return found or [*read(body)]


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.splitlines() if line.strip()]


def _unknown(body: bytes, found: Sequence[object], lines: bool) -> list[FieldWarning]:
    """Fields of usable elements that nobody reads."""
    try:
        values = [msgspec.json.decode(value) for value in (_lines(body) if lines else [body])]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        values = []
    flat = [element for value in values for element in (value if isinstance(value, list) else [value])]
    if len(flat) != len(found):
        if all(isinstance(record, Rejected) for record in found):
            return []
        return [
            FieldWarning(
                field="$", detail="the body is no JSON as a whole: unknown fields were not looked for", index=0, elements=len(found)
            )
        ]
    places: dict[tuple[str, type[msgspec.Struct]], list[int]] = {}
    for n, (element, record) in enumerate(zip(flat, found, strict=True)):
        if isinstance(record, Event | Exposure | Item):
            for path in dict.fromkeys(json_fields.unknown(element, type(record))):
                if path != "$.kind":  # of an event it may be said that it is one
                    places.setdefault((path, type(record)), []).append(n)
    out = [
        FieldWarning(field=path, detail=f"no such field{_perhaps(path, kind)}; it is ignored", index=at[0], elements=len(at))
        for (path, kind), at in list(places.items())[:MAX_WARNINGS]
    ]
    left = list(places.values())[MAX_WARNINGS:]
    if left:
        out.append(FieldWarning(field="$", detail=f"{len(left):,} more unknown fields", index=left[0][0], elements=sum(map(len, left))))
    return out


def _perhaps(path: str, kind: type[msgspec.Struct]) -> str:
    meant = json_fields.meant(path, kind)
    return f" (perhaps `{meant}` is meant)" if meant else ""


def _item_times(found: Sequence[object], earliest_ts: int) -> list[FieldWarning]:
    """Times of items that would be of this century in another unit."""
    out = []
    for field in ("published_ts", "expires_ts"):
        odd = [
            (n, detail)
            for n, item in enumerate(found)
            if isinstance(item, Item) and (ts := getattr(item, field)) is not None and ts < earliest_ts
            and "looks like" in (detail := too_early(ts, earliest_ts))
        ]  # fmt: skip
        if odd:
            out.append(FieldWarning(field=f"$.{field}", detail=odd[0][1], index=odd[0][0], elements=len(odd)))
    return out


def _of_others(record: Record | Rejected, times: TimeBounds) -> Event | Exposure | Rejected:
    if isinstance(record, Rejected):
        return record
    if isinstance(record, Event | Exposure):
        refused = times.refused(record.ts)
        return record if refused is None else Rejected(refused.reason, f"{refused.detail} - at `$.ts`", b"")
    return Rejected(Reason.WRONG_TYPE, "ticks and the beginnings of logs come from workers and `segue send` alone - at `$.kind`", b"")


def event_rows(records: Iterable[Event | Exposure], partition: Callable[[bytes], int], largest: int) -> list[EventRow]:
    """Records for `events`, in order: arrays of one partition each; one alone has its user for a key.

    `largest`: bytes of one record that the topic takes.
    """
    limit = min(ARRAY_BYTES, largest // 2)
    rows: list[EventRow] = []
    opened: dict[int, list[tuple[bytes, bytes, Event | Exposure]]] = {}  # partition -> key, value and record of what goes together

    def close(at: int) -> None:
        together = opened.pop(at, [])
        holds = [record for _, _, record in together]
        if len(together) == 1:
            rows.append(EventRow(Out("events", at, *together[0][:2]), holds))
        elif together:
            rows.append(EventRow(Out("events", at, None, b"[" + b",".join([value for _, value, _ in together]) + b"]"), holds))

    sizes: dict[int, int] = {}
    for record in records:
        key, value = record.user_id.encode(), msgspec.json.encode(record)
        at = partition(key)
        if len(opened.get(at, ())) >= ARRAY_RECORDS or sizes.get(at, 0) + len(value) > limit:
            close(at)
            sizes[at] = 0
        opened.setdefault(at, []).append((key, value, record))
        sizes[at] = sizes.get(at, 0) + len(value) + 1
    for at in sorted(opened):
        close(at)
    return rows


def item_rows(found: Iterable[Item]) -> list[Out]:
    """Records for `catalog`."""
    return [Out("catalog", 0, item.item_id.encode(), msgspec.json.encode(item)) for item in found]


def tombstone(item_id: str) -> Out:
    """A record for `catalog` that takes an item out."""
    return Out("catalog", 0, item_id.encode(), b"")
