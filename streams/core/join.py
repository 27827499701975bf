"""Exposures wait for their feedback and become examples (DESIGN.md section 5).

    shown ──── first resolving act: Example, at once ──── later acts: Reversals ── … retention: forgotten
      └── join window closes: Example for every slot without an act, then Closed with the labels as they stand

Lists are found by request id where an act carries one, else by the list that this user was last shown this item in.
An act with a request id whose exposure is not there waits until its window closes, then counts as unjoined. An act
without a request id, outside of any open list, implies its own impression.
"""
from __future__ import annotations

import struct
from collections.abc import Callable

import xxhash

from online_model.features import TASKS, Closed, Example, ExampleRecord, Reversal
from streams.core.acts import COLLECT
from streams.core.settings import PartitionSettings
from streams.core.state import Act, Marks, Progress, Shown, Slot, Tables
from streams.core.view import UserPart, features

LIST, LAST = b"l", b"a"  # first byte of a key in `pending`: a list of a user; the list that an item was last shown in
MAX_SLOTS = 200  # of one list; impressions beyond start a new one
MAX_WAITING = 64  # acts that wait for one exposure
MAX_CHANGES = 8  # reversals of one slot: a finger that taps collect on and off is not endless evidence

_PAIR = struct.Struct(">QQ")
_ID = struct.Struct("<QQQq")
_MINUTE_MS = 60_000

Emit = Callable[[ExampleRecord], None]


class Joins:
    """The open and resolved lists of one partition."""

    def __init__(self, settings: PartitionSettings, tables: Tables) -> None:
        self._settings = settings
        self._lists = tables.pending
        self._closing = Marks(tables.pending, b"o", step_ms=10 * _MINUTE_MS)
        self._expiring = Marks(tables.pending, b"x", step_ms=10 * _MINUTE_MS)

    def shown(self, user: int, list_key: int) -> Shown | None:
        found = self._lists.get(LIST + _PAIR.pack(user, list_key))
        return found if isinstance(found, Shown) else None

    def last(self, user: int, item: int) -> tuple[int, Shown] | None:
        """The list in which this user was last shown this item without a request id."""
        key = self._lists.get(LAST + _PAIR.pack(user, item))
        if not isinstance(key, bytes):
            return None
        list_key = int.from_bytes(key, "big")
        found = self.shown(user, list_key)
        return (list_key, found) if found else None

    def open(self, user: int, list_key: int, part: UserPart | None, ts: int, progress: Progress, implied: bool = False) -> Shown:
        """A new list (replacing a closed one of the same key). Without `part` it only holds acts that came before it."""
        shown = Shown(shown_ms=ts, due_ms=ts + self._settings.join_window_ms, exposed=part is not None, implied=implied)
        if part is not None:
            self.expose(shown, part, ts)
        self.save(user, list_key, shown)
        place = _PAIR.pack(user, list_key)
        self._closing.add(max(shown.due_ms, progress.watermark_ms + 1), place)
        self._expiring.add(ts + self._settings.join_retention_ms, place)
        progress.open_lists += 1
        return shown

    def expose(self, shown: Shown, part: UserPart, ts: int) -> None:
        """The exposure itself: from here on the list has the features of its user at that moment."""
        shown.exposed, shown.shown_ms = True, ts
        shown.context, shown.user_attributes = part.context, part.user_attributes
        shown.positive, shown.negative, shown.user_counts = part.positive, part.negative, part.counts

    def add(self, user: int, list_key: int, shown: Shown, slot: Slot, by_item: bool) -> Slot:
        """A further item of a list. `by_item`: acts will come without a request id."""
        slot.id = xxhash.xxh3_64_intdigest(_ID.pack(user, list_key, slot.item, slot.shown_ms))
        shown.slots.append(slot)
        if by_item:
            self._lists.put(LAST + _PAIR.pack(user, slot.item), list_key.to_bytes(8, "big"))
        return slot

    def save(self, user: int, list_key: int, shown: Shown) -> None:
        self._lists.put(LIST + _PAIR.pack(user, list_key), shown)

    def act(self, shown: Shown, slot: Slot, act: Act, emit: Emit) -> tuple[int, int]:
        """Labels that this act set and took back, as bits; the example or the reversals that follow are emitted."""
        before = slot.labels
        after = (before | act.mask) & ~(COLLECT if act.undo else 0)
        if after != before and slot.made and slot.changes >= MAX_CHANGES:
            return 0, 0
        slot.labels = after
        if not slot.made:
            if act.resolving:
                slot.made = True
                emit(self._example(shown, slot, act.ts, act.arrival_ms))
        else:
            changed = before ^ after
            for task in range(len(TASKS)):
                if changed >> task & 1:
                    slot.changes += 1
                    emit(
                        Reversal(
                            id=slot.id, ts=act.ts, arrival_ms=act.arrival_ms, task=task, sign=1 if after >> task & 1 else -1, weight=1.0,
                            features=features(shown, shown.user_counts, slot),
                        )
                    )  # fmt: skip
        return after & ~before, before & ~after

    def close_due(self, watermark_ms: int, progress: Progress, emit: Emit) -> None:
        """Close the lists whose window has passed: strictly before the watermark, so an act at the last moment still counts."""
        for place in self._closing.due(watermark_ms - 1):
            self._close(place, watermark_ms, progress, emit)

    def close_all(self, watermark_ms: int, progress: Progress, emit: Emit) -> None:
        """The end of a log closes every list, in the order of their windows."""
        for place in self._closing.due(1 << 62):
            self._close(place, watermark_ms, progress, emit)

    def forget(self, watermark_ms: int) -> None:
        """Drop lists whose retention has passed, and what points to them."""
        for place in self._expiring.due(watermark_ms):
            shown = self._lists.get(LIST + place)
            if not isinstance(shown, Shown) or shown.shown_ms + self._settings.join_retention_ms > watermark_ms:
                continue  # gone already, or replaced by a newer one of the same request
            for slot in shown.slots:
                last = LAST + place[:8] + slot.item.to_bytes(8, "big")
                if self._lists.get(last) == place[8:]:
                    self._lists.delete(last)
            self._lists.delete(LIST + place)

    def _close(self, place: bytes, watermark_ms: int, progress: Progress, emit: Emit) -> None:
        shown = self._lists.get(LIST + place)
        if not isinstance(shown, Shown) or shown.closed:
            return
        progress.open_lists -= 1
        if shown.waiting:
            progress.counted["unjoined"] = progress.counted.get("unjoined", 0) + len(shown.waiting)
        if not shown.exposed:
            self._lists.delete(LIST + place)
            return
        shown.closed, shown.waiting = True, []
        for slot in shown.slots:
            if not slot.made:
                slot.made = True
                emit(self._example(shown, slot, watermark_ms, 0))
        emit(Closed(ts=watermark_ms, ids=[s.id for s in shown.slots], labels=[s.labels for s in shown.slots]))
        self._lists.put(LIST + place, shown)

    def _example(self, shown: Shown, slot: Slot, ts: int, arrival_ms: int) -> Example:
        return Example(
            id=slot.id, ts=ts, arrival_ms=arrival_ms, labels=slot.labels, weight=1.0, features=features(shown, shown.user_counts, slot)
        )
