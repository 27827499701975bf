"""What goes in and comes out of a partition: arrived records, and the effects that leave for other topics."""
from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from online_model.features import ExampleRecord
from online_model.popularity import Increment
from streams.core.join.events import Exposure, Reason, Record, Rejected


class Arrived(msgspec.Struct, frozen=True):
    """A decoded record with its place in the log and its arrival (broker append; in a file, a column or its own time)."""

    offset: int
    index: int  # in the array of one Kafka record or log line
    arrival_ms: int
    record: Record | Rejected
    default_id: str  # the event id where the record gives none
    raw: bytes = b""  # the original, for a dead letter


class Outgoing(msgspec.Struct, frozen=True, array_like=True):
    """A record for the learner. (offset, index, n) follows from the log alone and only grows within a partition."""

    offset: int
    index: int
    n: int
    record: ExampleRecord


class Dead(msgspec.Struct, frozen=True):
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
    dead: list[Dead] = field(default_factory=list)
    exposures: list[Exposure] = field(default_factory=list)
