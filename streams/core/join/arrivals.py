"""A record of the `events` topic as the core takes it: decoded, numbered, with its time of arrival.

Arrival is when the broker appended it. `segue send` says in a header when the records of a log arrived in truth.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import msgspec

from streams.core.join.decode import decode
from streams.core.join.events import Rejected
from streams.core.join.records import Arrived

ARRIVAL = "segue-arrival"  # header: int64 little-endian ms for each record of the array; empty: each at its own ts

_pieces = msgspec.json.Decoder(list[msgspec.Raw])


def pack_arrivals(times_ms: Sequence[int | None]) -> bytes:
    """The header's value; None: at its own ts, which then holds for all."""
    if all(t is None for t in times_ms):
        return b""
    if any(t is None for t in times_ms):
        raise ValueError("either every record of an array has an arrival time, or none")
    return struct.pack(f"<{len(times_ms)}q", *times_ms)


def arrivals(place: str, offset: int, appended_ms: int, headers: Iterable[tuple[str, bytes]], value: bytes | None) -> list[Arrived]:
    """The records of one Kafka value. `place` is topic and partition, the first half of the ids of records without one."""
    records = decode(value)
    single = value if value is not None and len(records) == 1 and value.lstrip()[:1] != b"[" else b""
    said = next((v for k, v in headers if k == ARRIVAL), None)
    times = _times(said, len(records))
    out = []
    for index, record in enumerate(records):
        if times is not None:
            arrival = times[index]
        elif said is not None and not isinstance(record, Rejected):
            arrival = record.ts
        else:
            arrival = appended_ms
        out.append(Arrived(offset, index, arrival, record, f"{place}-{offset}-{index}", single))
    return out


def original(value: bytes, arrived: Arrived) -> bytes:
    """One record of an array as it stood; as it was understood, where the array itself is broken."""
    if arrived.raw or isinstance(arrived.record, Rejected):
        return arrived.raw or arrived.record.raw  # type: ignore[union-attr]
    try:
        return bytes(_pieces.decode(value)[arrived.index])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return msgspec.json.encode(arrived.record)


def _times(said: bytes | None, n: int) -> tuple[int, ...] | None:
    """One time a record; None where the header says "own ts", or doesn't fit the records (then it says nothing)."""
    if said is None or len(said) != 8 * n:
        return None
    return struct.unpack(f"<{n}q", said)
