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


@lru_cache(maxsize=1 << 17)
def key(field: str, value: str) -> int:
    """The key of a value of a field; never 0."""
    return xxhash.xxh3_64_intdigest(f"{field}={value}".encode("utf-8", "surrogatepass")) or 1


@lru_cache(maxsize=1 << 12)
def hour_of_week(hour: int) -> int:
    """The key of an hour counted since 1970 (a Thursday, 00:00 UTC) within its week."""
    return key("hour_of_week", str(hour % 168))


@lru_cache(maxsize=1 << 10)
def position(place: int) -> int:
    """The key of a place in a list: singly to 9, then ever wider."""
    bucket = place if place < 10 else 10 if place < 20 else 20 if place < 50 else 50
    return key("position", str(bucket))


@lru_cache(maxsize=1 << 16)
def value(name: str, content: str | int | float | bool) -> bytes:
    """The packed key of one named value; numbers in half-octave steps, so that close ones share a row."""
    if isinstance(content, str):
        text = content
    elif isinstance(content, bool) or content == 0:
        text = str(int(content))
    elif math.isfinite(content):
        text = f"{'-' if content < 0 else ''}2^{round(2 * math.log2(abs(content))) / 2}"
    else:
        text = str(content)
    return _U64.pack(key(name, text))


def bag(values: list[tuple[str, str | int | float]]) -> bytes:
    """Packed keys of named values, in name order, at most BAG_LIMIT."""
    return b"".join([value(name, content) for name, content in sorted(values)[:BAG_LIMIT]])
