"""64-bit keys of ids and values: strings end here, at the edge of the core.

A key is xxh3 of "field=value", so that equal strings of different fields don't meet; 0 is kept for "absent".
"""
from __future__ import annotations

import math
import struct
from functools import lru_cache

import xxhash

from online_model.features import BAG_LIMIT

_U64 = struct.Struct("<Q")
HOUR_MS = 3_600_000


def once(field: str, value: str) -> int:
    """The key of a value that hardly comes again (a request, an event): as `key`, without a place in its cache."""
    return xxhash.xxh3_64_intdigest(f"{field}={value}".encode("utf-8", "surrogatepass")) or 1


@lru_cache(maxsize=1 << 17)
def key(field: str, value: str) -> int:
    """The key of a value of a field; never 0."""
    return once(field, value)


@lru_cache(maxsize=1 << 12)
def hour_of_week(hour: int) -> int:
    """The key of an hour counted since 1970 (a Thursday, 00:00 UTC) within its week."""
    return key("hour_of_week", str(hour % 168))


@lru_cache(maxsize=1 << 10)
def position(place: int) -> int:
    """The key of a place in a list: singly to 9, then ever wider."""
    bucket = place if place < 10 else 10 if place < 20 else 20 if place < 50 else 50
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
