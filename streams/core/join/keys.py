"""64-bit keys of ids and values: strings end here, at the edge of the core.

A key is xxh3 of "field=value", so that equal strings of different fields don't meet; 0 is kept for "absent".
"""
from __future__ import annotations

import math
import struct
from functools import lru_cache

import msgspec
import xxhash

from online_model.features import BAG_LIMIT
from streams.core.join.events import Event, Exposure

_U64 = struct.Struct("<Q")
HOUR_MS = 3_600_000


class RecordKeys(msgspec.Struct, frozen=True):
    """The keys of one record, resolved once, when it is taken in; 0 where the record names none."""

    user: int = 0
    slate: int = 0  # of its request; of an event without a request: of the event
    domain: int = 0
    items: tuple[int, ...] = ()  # one an event, one a slot of an exposure
    modules: tuple[int, ...] = ()  # the same


def of_record(record: Event | Exposure, default_id: str) -> RecordKeys:
    """The keys of an event or an exposure; `default_id` is the event's id where it has none."""
    slots = (record,) if isinstance(record, Event) else record.slots
    request = record.request_id
    return RecordKeys(
        user=key("user", record.user_id),
        slate=uncached("event", record.event_id or default_id) if request is None else uncached("request", request),
        domain=optional("domain", record.domain),
        items=tuple([key("item", slot.item_id) for slot in slots]),
        modules=tuple([optional("module", slot.module) for slot in slots]),
    )


def uncached(field: str, value: str) -> int:
    """The key of a value that hardly comes again (a request, an event): as `key`, without a place in its cache."""
    return xxhash.xxh3_64_intdigest(f"{field}={value}".encode("utf-8", "surrogatepass")) or 1


@lru_cache(maxsize=1 << 17)
def key(field: str, value: str) -> int:
    """The key of a value of a field; never 0."""
    return uncached(field, value)


def optional(field: str, value: str | None) -> int:
    """The key of a value that may be absent: then 0.

    >>> optional("domain", None), optional("domain", "song") == key("domain", "song")
    (0, True)
    """
    return key(field, value) if value else 0


@lru_cache(maxsize=1 << 12)
def hour_of_week(hour: int) -> int:
    """The key of an hour counted since 1970 (a Thursday, 00:00 UTC) within its week."""
    return key("hour_of_week", str(hour % 168))


@lru_cache(maxsize=1 << 10)
def position(slot: int) -> int:
    """The key of a position in a slate: singly to 9, then in ever wider buckets.

    >>> position(10) == position(19) != position(20)
    True
    """
    bucket = slot if slot < 10 else 10 if slot < 20 else 20 if slot < 50 else 50
    return key("position", str(bucket))


@lru_cache(maxsize=1 << 16, typed=True)  # typed: True equals 1, but says something else
def value(bag: str, name: str, content: str | int | float | bool) -> bytes:
    """The packed key of one named value of a bag; numbers in half-octave steps, so that close ones share a row.

    Names are others' choice: with the bag and their length before them they meet no field, and no name that holds a "=".
    """
    if isinstance(content, str):
        text = content
    elif isinstance(content, bool) or content == 0:
        text = str(int(content))
    elif isinstance(content, int) or math.isfinite(content):  # an integer may be too large for a float
        text = f"{'-' if content < 0 else ''}2^{round(2 * math.log2(abs(content))) / 2}"
    else:
        text = str(content)
    return _U64.pack(key(f"{bag}:{len(name)}:{name}", text))


def bag(kind: str, values: list[tuple[str, str | int | float]]) -> bytes:
    """Packed keys of the named values of one kind, in name order, at most BAG_LIMIT."""
    return b"".join([value(kind, name, content) for name, content in sorted(values)[:BAG_LIMIT]])
