"""Which records of a partition become part of a state: each offset once, in order, and none lost without a word."""
from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from streams.kafka_io.gaps import LogReader
from streams.watchdog import NeedsOperator

log = logging.getLogger(__name__)


class OffsetError(NeedsOperator):
    """A state and its log do not fit together; the message names both and says what to do."""


class SkippedRecord(RuntimeError):
    """A record was jumped over; from its state a restart reads it."""


@dataclass(frozen=True, slots=True)
class OffsetGuard:
    """The offsets of one partition, as one state takes them in. `counted` says how many were repeated, empty or lost."""

    log: LogReader
    topic: str
    partition: int
    accept_loss: bool  # go on where the log no longer holds what the state needs
    setting: str = "ingest.accept_loss"  # that says so
    counted: Counter[str] = field(default_factory=Counter)

    async def resume(self, applied: int, state: Path, new: bool) -> int:
        """The offset to read on from: the one behind `applied`, the newest in the state (-1: none), or the first that is left.

        `state`: where it lies. `new`: neither it nor the consumer group has taken in anything; then nothing is lost.
        Raises OffsetError where the log ends before `applied`, or where offsets are lost and that is not accepted.
        """
        first, end = await self.log.bounds(self.topic, self.partition)
        due = applied + 1
        if due > end:
            raise OffsetError(
                f"{state} is at offset {applied:,}, but {self.place} ends at {end:,}: it is another topic; "
                f"move {state} away to begin anew from this log"
            )
        if due >= first:
            return due
        if new:
            log.warning("%s begins at offset %d: what was before is not part of the state", self.place, first)
            return first
        if not self.accept_loss:
            raise OffsetError(
                f"{self.place}: offsets {due:,} to {first - 1:,} are lost: {state} needs them, the log no longer has them; "
                f"restore a newer one, or go on without them by --set {self.setting}=true"
            )
        log.warning("%s: going on without offsets %d to %d", self.place, due, first - 1)
        self.counted["lost_offsets"] += first - due
        return first

    async def admits(self, offset: int, applied: int) -> bool:
        """Whether the record at `offset` comes next, behind `applied`; a repeated one does not.

        Offsets may be left out where the log holds no record (transaction markers). Raises SkippedRecord where it holds one.
        """
        if offset <= applied:
            self.counted["repeated_records"] += 1
            return False
        if offset != applied + 1:
            found = await self.log.first_record(self.topic, self.partition, applied + 1, offset)
            if found is not None:
                raise SkippedRecord(f"{self.place}: offset {offset} came when {applied + 1} was due, and a record is at {found}")
            self.counted["empty_offsets"] += offset - applied - 1
        return True

    @property
    def place(self) -> str:
        """The partition, as messages name it."""
        return f"{self.topic}-{self.partition}"
