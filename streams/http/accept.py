"""Events and items over HTTP, from a body to the records of their topics. The service answers when the broker has them.

Bodies go through the core's own `decode`, so the service refuses exactly what would be a dead letter in the log. Ticks and
`log-begin` records are refused too: only workers and `segue send` write them.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from streams.core.join import items
from streams.core.join.decode import decode
from streams.core.join.events import EARLIEST_TS, Event, Exposure, Reason, Record, Rejected
from streams.core.join.items import Item
from streams.http.entrance import Refusal
from streams.kafka_io.messages import Out
from streams.kafka_io.send import ARRAY_BYTES, ARRAY_RECORDS

T = TypeVar("T")


class NotTaken(msgspec.Struct, frozen=True, kw_only=True):
    """An element that was not taken, by its place in the array."""

    index: int
    reason: Reason
    detail: str


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an array. The accepted ones are in Kafka."""

    accepted: int
    rejected: list[NotTaken]


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

    def __init__(self, found: Sequence[T | Rejected], wanted: str) -> None:
        """Raises Unusable where something was found and none of it can be used."""
        self.good: list[T] = [one for one in found if not isinstance(one, Rejected)]
        bad = [(n, one) for n, one in enumerate(found) if isinstance(one, Rejected)]
        self.rejected = [NotTaken(index=n, reason=one.reason, detail=one.detail) for n, one in bad]
        if bad and not self.good:
            raise Unusable([one for _, one in bad], len(found), wanted)


def events(body: bytes, earliest_ts: int = EARLIEST_TS) -> Decoded[Event | Exposure]:
    """Decode feedback, impressions, and slates that a ranker of the client's own has served."""
    return Decoded([_of_others(record) for record in decode(body, earliest_ts)], "an event, or an array of events")


def catalog(body: bytes) -> Decoded[Item]:
    """Decode items."""
    return Decoded(items.decode(body), "an item, or an array of items")


def _of_others(record: Record | Rejected) -> Event | Exposure | Rejected:
    if isinstance(record, Event | Exposure | Rejected):
        return record
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
