"""What goes into a partition and what comes out: arrived records, and the effects that leave for other topics.

Arrival is when the broker appended a record. `segue send` gives in a header when the records of a log arrived in truth.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from online_model.features import ExampleRecord
from online_model.popularity import Increment
from streams.core.join.decode import ELEMENTS, decode
from streams.core.join.events import EARLIEST_TS, Event, Exposure, Reason, Record, Rejected, of_one_at_most
from streams.core.join.keys import RecordKeys, of_record

ARRIVAL = "segue-arrival"  # header: int64 little-endian ms for each record of the array; empty: each at its own ts
KIND = "segue-kind"  # header of what says nothing of users, so that other consumers of `events` can pass it over: tick, log-begin


class Arrived(msgspec.Struct, frozen=True):
    """A decoded record with its place in the log and its arrival (broker append; in a file, a column or its own time)."""

    offset: int
    index: int  # in the array of one Kafka record or log line
    arrival_ms: int
    record: Record | Rejected
    default_id: str  # the event id where the record gives none
    raw: bytes = b""  # the original, for a dead letter
    keys: RecordKeys = RecordKeys()  # follow from the record
    rounded: int = 0  # of its propensities, those that were above 1 by rounding; they are 1 in the record

    def __post_init__(self) -> None:
        if isinstance(self.record, Event | Exposure):
            record, rounded = of_one_at_most(self.record)
            if rounded:
                msgspec.structs.force_setattr(self, "record", record)
                msgspec.structs.force_setattr(self, "rounded", rounded)
            msgspec.structs.force_setattr(self, "keys", of_record(record, self.default_id))


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """A record for the learner. (offset, index, n) follows from the log alone and only grows within a partition."""

    offset: int
    index: int
    n: int
    record: ExampleRecord


class RejectedRecord(msgspec.Struct, frozen=True):
    """A record that was not used, and why."""

    offset: int
    index: int
    reason: Reason
    detail: str
    raw: bytes


@dataclass(slots=True)
class Effects:
    """What a batch of records caused outside of the partition's own state, in order."""

    examples: list[Outgoing] = field(default_factory=list)
    popularity: list[Increment] = field(default_factory=list)
    dead: list[RejectedRecord] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)


def pack_arrivals(times_ms: Sequence[int | None]) -> bytes:
    """The header's value; None: at its own ts, which then holds for all."""
    if all(t is None for t in times_ms):
        return b""
    if any(t is None for t in times_ms):
        raise ValueError("either every record of an array has an arrival time, or none")
    return struct.pack(f"<{len(times_ms)}q", *times_ms)


def arrivals(
    place: str, offset: int, appended_ms: int, headers: Iterable[tuple[str, bytes]], value: bytes | None, earliest_ts: int = EARLIEST_TS
) -> list[Arrived]:
    """The records of one Kafka value. `place` is topic and partition, the first half of the ids of records without one."""
    records = decode(value, earliest_ts)
    single = value if value is not None and len(records) == 1 and value.lstrip()[:1] != b"[" else b""
    header = next((v for k, v in headers if k == ARRIVAL), None)
    times = _times(header, len(records))
    out = []
    for index, record in enumerate(records):
        if times is not None:
            arrival = times[index]
        elif header is not None and not isinstance(record, Rejected):
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
        return bytes(ELEMENTS.decode(value)[arrived.index])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, IndexError):
        return msgspec.json.encode(arrived.record)


def _times(header: bytes | None, n: int) -> tuple[int, ...] | None:
    """One time a record; None where the header says "own ts", or doesn't fit the records (then it says nothing)."""
    if header is None or len(header) != 8 * n:
        return None
    return struct.unpack(f"<{n}q", header)
