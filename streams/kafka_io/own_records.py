"""Records of Segue's own topics, read so that no single one stops a process again at every restart.

What none of ours wrote is skipped: logged, counted and dead-lettered; nothing rests on it. What begins as a record of ours and
can't be read (another version wrote it) ends the process with one line: what follows rests on it. `topics.skip` goes on without it.
"""
from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from streams.core.join.events import Reason
from streams.core.join.records import RejectedRecord
from streams.kafka_io import dead_letters
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import NOT_DECODED, Out
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import NeedsOperator

UPDATES = ("claim", "delta", "beat")  # how a record of `model-updates` begins

log = logging.getLogger(__name__)
T = TypeVar("T")


class UnreadableRecord(NeedsOperator):
    """A record of ours that this version can't read; the message has its place, and the command that goes on without it."""


class Foreign(NamedTuple):
    """In the place of a record that is not used."""

    detail: str


class Arrived(Protocol):
    """A record as the clients give it."""

    @property
    def partition(self) -> int:
        """Of the topic."""

    @property
    def offset(self) -> int:
        """In the partition."""

    @property
    def value(self) -> Any:
        """Bytes, or None."""


class OwnRecords(Generic[T]):
    """Reads one topic of ours. `topic`: its field of `Topics`. `verb`: the command that reads it, for the message."""

    def __init__(
        self, settings: TopicSettings, topic: str, decode: Callable[[bytes], T], verb: str, delivery: Delivery | None = None
    ) -> None:  # fmt: skip
        self.topic: str = getattr(names(settings.prefix), topic)
        self.skipped = 0
        self.delivery = delivery  # for dead letters; without it they are only counted
        self._skip, self._decode, self._verb = settings.skip, decode, verb
        self._is_ours = _is_update if topic == "model_updates" else _is_part

    async def read(self, record: Arrived) -> T | None:
        """The record; None where it was skipped. Raises UnreadableRecord."""
        found = self.decoded(record)
        if not isinstance(found, Foreign):
            return found
        await self.skip(record, found.detail)
        return None

    def decoded(self, record: Arrived) -> T | Foreign:
        """The record, or why it is to be skipped. Raises UnreadableRecord."""
        value = record.value or b""
        try:
            return self._decode(value)
        except NOT_DECODED as error:
            place = self.place(record)
            if place not in self._skip and self._is_ours(value):
                chosen = msgspec.json.encode([*self._skip, place]).decode()
                raise UnreadableRecord(
                    f"{place}: a record of Segue's that this version can't read: {error}; run the version that wrote it, "
                    f"or go on without it by `segue {self._verb} --set 'topics.skip={chosen}'`"
                ) from error
            return Foreign(str(error))

    async def skip(self, record: Arrived, detail: str) -> None:
        """Count a record that is not used, and send it to the dead letters."""
        self.skipped += 1
        log.warning("%s: skipped, it is no record of Segue's: %s", self.place(record), detail)
        if self.delivery is not None:
            rejected = RejectedRecord(record.offset, 0, Reason.UNREADABLE, detail, b"")
            letter = dead_letters.letter(self.topic, record.partition, rejected, record.value or b"")
            await self.delivery.append(Out("dead_letter", 0, None, letter))

    def place(self, record: Arrived) -> str:
        """As `topics.skip` names it."""
        return f"{self.topic}-{record.partition}:{record.offset}"


def _is_part(value: bytes) -> bool:
    """Whether it begins as `Examples` and `Increments` do: with a source, then a list."""
    found = _array(value)
    return len(found) >= 2 and type(found[0]) is int and isinstance(found[1], list)


def _is_update(value: bytes) -> bool:
    found = _array(value)
    return bool(found) and isinstance(found[0], str) and found[0] in UPDATES


def _array(value: bytes) -> list[Any]:
    """The array that the bytes are; empty for anything else."""
    try:
        found = msgspec.msgpack.decode(value)
    except NOT_DECODED:
        return []
    return found if isinstance(found, list) else []
