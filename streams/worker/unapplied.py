"""Records of `events` that this worker has served or taken over HTTP, as long as the state of their partition does not have them.

A list leaves when Kafka has its exposure, and an event is accepted when Kafka has it; the state has them some milliseconds
later, or minutes later while a partition catches up. A request in between is served from the state with these records
applied to it. All methods are called from the event loop.

Bounded: of a user, the newest records that show or name as many items as a state remembers; of all users, so many items.
Beyond it the oldest are forgotten, and `forgot` says so.
"""
from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from streams.core.join.events import MAX_SLOTS, Event, Exposure
from streams.core.join.records import Arrived

MOST_ITEMS = 1 << 16  # of all records of a partition together: about 30 MB
LAST = 1 << 62  # index behind every record of an array
_SWEEP = 1 << 10  # items from which records of users that do not come again are looked for

Place = tuple[int, int]  # offset, index in the array


@dataclass(slots=True)
class UnappliedRecord:
    """One record."""

    arrived: Arrived
    ts: int  # event time
    items: int
    place: Place | None  # in the log; None: Kafka has not said that it has it


@dataclass(slots=True)
class _OfUser:
    records: list[UnappliedRecord] = field(default_factory=list)  # oldest first
    items: int = 0
    forgotten_ms: int = -1  # time of the newest record that was forgotten


class UnappliedRecords:
    """The records of one partition, by user."""

    def __init__(self, applied: Place = (-1, LAST), remembered: int = 0, most: int = MOST_ITEMS) -> None:
        """`applied`: place of the newest record that the state has, to be kept up to date; `remembered`: items that a state remembers."""
        self.applied = applied
        self.forgotten = 0  # records, ever
        self._of_user_most, self._most = max(remembered, MAX_SLOTS), most
        self._forgotten_ms = -1  # as of a user, of the users that were forgotten
        self._users: dict[int, _OfUser] = {}  # the one that came first first
        self._items, self._put, self._sweep_at = 0, 0, _SWEEP

    def __len__(self) -> int:
        """Records that the state does not have."""
        return sum(not self._has(record) for of in self._users.values() for record in of.records)

    def put(self, record: Event | Exposure, now_ms: int, place: Place | None = None) -> UnappliedRecord:
        """A record that is on its way. `place` may be set later."""
        # what a state does not depend on may be large, and is left out
        if isinstance(record, Event):
            bare: Event | Exposure = msgspec.structs.replace(record, context={})
        else:
            bare = msgspec.structs.replace(record, context={}, arm_draw=None)
        self._put += 1
        arrived = Arrived(0, self._put, now_ms, bare, f"unapplied-{self._put}")
        new = UnappliedRecord(arrived, record.ts, len(arrived.keys.items), place)
        if not self._has(new):
            of = self._users.setdefault(arrived.keys.user, _OfUser())
            of.records.append(new)
            of.items += new.items
            self._items += new.items
            while of.items - of.records[0].items >= self._of_user_most:
                oldest = of.records.pop(0)
                of.items -= oldest.items
                self._items -= oldest.items
                if not self._has(oldest):
                    self.forgotten += 1
                    of.forgotten_ms = max(of.forgotten_ms, oldest.ts)
            if self._items >= self._sweep_at:
                self._sweep()
        return new

    def of(self, user: int) -> list[Arrived]:
        """A user's records that the state does not have, oldest first."""
        of = self._users.get(user)
        if of is None:
            return []
        self._drop_applied(user, of)
        return [record.arrived for record in of.records]

    def forgot(self, user: int, since_ms: int) -> bool:
        """Whether a record of this user from after `since_ms` may have been forgotten before the state had it."""
        of = self._users.get(user)
        return max(self._forgotten_ms, of.forgotten_ms if of else -1) > since_ms

    def _has(self, record: UnappliedRecord) -> bool:
        return record.place is not None and record.place <= self.applied

    def _drop_applied(self, user: int, of: _OfUser) -> None:
        self._items -= of.items
        of.records = [record for record in of.records if not self._has(record)]
        of.items = sum(record.items for record in of.records)
        self._items += of.items
        if not of.records:
            del self._users[user]

    def _sweep(self) -> None:
        """Drop what the state has; where too much is left, forget the users that came first."""
        for user, of in list(self._users.items()):
            self._drop_applied(user, of)
        while self._items > self._most * 3 // 4:
            of = self._users.pop(next(iter(self._users)))
            self._items -= of.items
            self.forgotten += len(of.records)
            self._forgotten_ms = max(self._forgotten_ms, *(record.ts for record in of.records))
        self._sweep_at = min(max(_SWEEP, 2 * self._items), self._most)
