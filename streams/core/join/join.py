"""Exposures wait for their feedback and become examples (DESIGN.md section 5).

    shown ──── first resolving act: Example, at once ──── later acts: Reversals ── … retention: forgotten
      └── join window closes: Example if no act came, then Closed with the labels as they stand
          └── and of a list whose strategy was chosen, once all of it has closed: Reward

A list holds what one request showed to a user, or one impression that came without a request id. Window and retention
run for each slot from the moment it was shown, since a request may go on showing (a feed that is scrolled); within a
request an item is shown once, and a second report of it is the same exposure.

Lists are found by request id where an act carries one, else by the list that this user was last shown this item in.
An act with a request id whose exposure is not there waits until its own window closes, then counts as unjoined. An act
without a request id, outside of any open list, implies its own impression.

Where `negative_rate` is below 1, an exposure that closes without an act becomes an example at that rate, drawn by its id: the same
ones in every run. Of the others the learner hears their number, and the reversals of acts that come later still: a reversal is a
difference, right whether or not the first half was learned.
"""
from __future__ import annotations

import struct
from collections.abc import Callable

import xxhash

from online_model.features import TASKS, Closed, Example, ExampleRecord, Reversal
from streams.core.join.features_view import features
from streams.core.join.labels import COLLECT, LABELS
from streams.core.join.rewards import PendingReward, Worth
from streams.core.join.settings import PartitionSettings
from streams.core.join.state import FOREVER, EventTimers, PendingExposure, PendingFeedback, PendingSlate, Progress, Tables, UserPart

LIST, LAST = b"l", b"a"  # first byte of a key in `pending`: a list of a user; the list that an item was last shown in
MAX_SLOTS = 200  # kept of one list; beyond, the oldest is closed and forgotten
MAX_WAITING = 64  # acts that wait in one list
MAX_CHANGES = 8  # reversals of one slot: a finger that taps collect on and off is not endless evidence

_PAIR = struct.Struct(">QQ")
_ID = struct.Struct("<QQQq")
_STEP_MS = 600_000

Emit = Callable[[ExampleRecord], None]


class Joins:
    """The open and resolved lists of one partition."""

    def __init__(self, settings: PartitionSettings, tables: Tables, progress: Progress, emit: Emit) -> None:
        self._window_ms, self._retention_ms = settings.join_window_ms, settings.join_retention_ms
        self._negative_rate = settings.negative_rate
        self._lists = tables.pending
        self._progress = progress
        self._emit = emit
        self._worth = Worth(settings.reward)
        self._closing = EventTimers(tables.pending, b"o", _STEP_MS)
        self._expiring = EventTimers(tables.pending, b"x", _STEP_MS)

    def find(self, user: int, list_key: int) -> PendingSlate | None:
        found = self._lists.get(LIST + _PAIR.pack(user, list_key))
        return found if isinstance(found, PendingSlate) else None

    def last(self, user: int, item: int) -> tuple[int, PendingSlate, PendingExposure] | None:
        """The list in which this user was last shown this item, and its slot there."""
        key = self._lists.get(LAST + _PAIR.pack(user, item))
        if not isinstance(key, bytes):
            return None
        list_key = int.from_bytes(key, "big")
        shown = self.find(user, list_key)
        slot = shown.slot(item) if shown else None
        return (list_key, shown, slot) if shown and slot else None

    def show(
        self, user: int, list_key: int, part: UserPart, slots: list[PendingExposure], chosen: PendingReward | None = None
    ) -> PendingSlate:
        """Add items shown at one moment to a list, new or not; acts that waited for them join."""
        shown = self.find(user, list_key) or PendingSlate()
        if chosen is not None:
            _choose(shown, chosen)
        for slot in slots:
            slot.id = exposure_id(user, list_key, slot.item, slot.shown_ms)
            slot.part = len(shown.parts)
            self._lists.put(LAST + _PAIR.pack(user, slot.item), list_key.to_bytes(8, "big"))
        shown.slots += slots
        shown.parts.append(part)
        place = _PAIR.pack(user, list_key)
        if len(shown.slots) > MAX_SLOTS:
            self._finish(shown, [s for s in shown.slots[:-MAX_SLOTS] if not s.closed])
            self._keep(place, shown, shown.slots[-MAX_SLOTS:])
        self._expiring.add(slots[0].shown_ms + self._retention_ms, place)
        self._await(place, shown, slots[0].shown_ms)
        if shown.waiting:
            for slot in slots:
                self._resume(shown, slot)
        return shown

    def choose(self, user: int, list_key: int, chosen: PendingReward) -> None:
        """How the strategy of a list was chosen of which all items were there before: events were faster than the exposure."""
        shown = self.find(user, list_key)
        if shown is not None and shown.choice is False:
            _choose(shown, chosen)
            if not shown.open:
                self._earned(_PAIR.pack(user, list_key), shown)
            self.save(user, list_key, shown)

    def wait(self, user: int, list_key: int, act: PendingFeedback) -> bool:
        """Keep an act until its exposure comes or its window closes; False where too many wait already."""
        shown = self.find(user, list_key) or PendingSlate()
        if len(shown.waiting) >= MAX_WAITING:
            return False
        shown.waiting.append(act)
        self._await(_PAIR.pack(user, list_key), shown, act.ts)
        return True

    def save(self, user: int, list_key: int, shown: PendingSlate) -> None:
        self._lists.put(LIST + _PAIR.pack(user, list_key), shown)

    def act(self, shown: PendingSlate, slot: PendingExposure, act: PendingFeedback) -> int:
        """Labels that this act newly set, as bits; the example or the reversals that follow are emitted."""
        before = slot.labels
        after = (before | act.mask) & ~(COLLECT if act.undo else 0)
        if not slot.made:
            slot.labels = after
            if act.resolving:
                self._make(shown, slot, act.ts, act.arrival_ms)
        elif after != before and slot.changes < MAX_CHANGES:
            slot.labels = after
            for task in range(len(TASKS)):
                if (before ^ after) >> task & 1:
                    slot.changes += 1
                    sign = 1 if after >> task & 1 else -1
                    self._emit(Reversal(slot.id, act.ts, act.arrival_ms, task, sign, 1.0, features(shown.parts[slot.part], slot)))
        return slot.labels & ~before & LABELS

    def close_due(self, watermark_ms: int) -> None:
        """Close what was shown longer ago than its window: strictly, so that an act at the last moment still counts."""
        for place in self._closing.due(watermark_ms - 1):
            self._close(place, watermark_ms - 1)

    def close_all(self) -> None:
        """The end of a log closes everything, in the order of the windows."""
        for place in self._closing.all():
            self._close(place, FOREVER)

    def forget(self, watermark_ms: int) -> None:
        """Drop what was shown longer ago than its retention, which is no shorter than its window, and so is closed."""
        for place in self._expiring.due(watermark_ms - 1):
            shown = self._lists.get(LIST + place)
            if isinstance(shown, PendingSlate):
                kept = [s for s in shown.slots if s.shown_ms + self._retention_ms >= watermark_ms]
                if len(kept) < len(shown.slots):
                    self._earned(place, shown)
                    self._keep(place, shown, kept)
                    self._put(place, shown)

    def _await(self, place: bytes, shown: PendingSlate, since_ms: int) -> None:
        self._closing.add(since_ms + self._window_ms, place)
        if not shown.open:
            shown.open = True
            self._progress.open_lists += 1
        self._lists.put(LIST + place, shown)

    def _resume(self, shown: PendingSlate, slot: PendingExposure) -> None:
        """Acts that came before this exposure join it now; state and popularity moved when they came."""
        acts = [a for a in shown.waiting if a.item == slot.item]
        if acts:
            shown.waiting = [a for a in shown.waiting if a.item != slot.item]
            for act in acts:
                self.act(shown, slot, act)
            see(shown, slot.item)

    def _close(self, place: bytes, until_ms: int) -> None:
        shown = self._lists.get(LIST + place)
        if not isinstance(shown, PendingSlate) or not shown.open:
            return
        self._finish(shown, [s for s in shown.slots if not s.closed and s.shown_ms + self._window_ms <= until_ms])
        kept = [a for a in shown.waiting if a.ts + self._window_ms > until_ms]
        if len(kept) < len(shown.waiting):
            self._progress.count("unjoined", len(shown.waiting) - len(kept))
            shown.waiting = kept
        if not kept and all(s.closed for s in shown.slots):
            shown.open = False
            self._progress.open_lists -= 1
            self._earned(place, shown)
        self._put(place, shown)

    def _finish(self, shown: PendingSlate, slots: list[PendingExposure]) -> None:
        if not slots:
            return
        now_ms = self._progress.watermark_ms
        known = []
        for slot in slots:
            slot.closed = True
            if not slot.made and drawn(slot.id, self._negative_rate):
                self._make(shown, slot, now_ms, 0, self._negative_rate)
            if slot.made:
                known.append(slot)
            slot.made = True  # from here on, acts are reversals
        left_out = len(slots) - len(known)
        if left_out:
            self._progress.count("sampled_out", left_out)
        self._emit(Closed(now_ms, [s.id for s in known], [s.labels for s in known], now_ms - self._window_ms, left_out))

    def _earned(self, place: bytes, shown: PendingSlate) -> None:
        """Say what a list earned, once."""
        if isinstance(shown.choice, PendingReward):
            user, list_key = _PAIR.unpack(place)
            labels = {s.item: s.labels for s in shown.slots}
            self._emit(self._worth.reward(shown.choice, list_key, user, self._progress.watermark_ms, labels))
            shown.choice = True

    def _make(self, shown: PendingSlate, slot: PendingExposure, ts: int, arrival_ms: int, weight: float = 1.0) -> None:
        slot.made = True
        self._emit(Example(slot.id, ts, arrival_ms, slot.labels & LABELS, weight, features(shown.parts[slot.part], slot)))

    def _keep(self, place: bytes, shown: PendingSlate, kept: list[PendingExposure]) -> None:
        """Forget the other slots of a list: what points to them, and the user's halves that only they needed."""
        staying = {s.item for s in kept}
        for slot in shown.slots:
            last = LAST + place[:8] + slot.item.to_bytes(8, "big")
            if slot.item not in staying and self._lists.get(last) == place[8:]:
                self._lists.delete(last)
        used = sorted({s.part for s in kept})
        moved = {part: at for at, part in enumerate(used)}
        for slot in kept:
            slot.part = moved[slot.part]
        shown.slots, shown.parts = kept, [shown.parts[part] for part in used]

    def _put(self, place: bytes, shown: PendingSlate) -> None:
        """Save a list, or delete it when there is nothing left in it."""
        if shown.slots or shown.waiting:
            self._lists.put(LIST + place, shown)
        else:
            self._lists.delete(LIST + place)


def exposure_id(user: int, list_key: int, item: int, shown_ms: int) -> int:
    """The 64-bit id of an exposure: a hash of the user's, the slate's and the item's key and of the moment (ms)."""
    return xxhash.xxh3_64_intdigest(_ID.pack(user, list_key, item, shown_ms))


def see(shown: PendingSlate, item: int) -> None:
    """An event says that an item of a list was on a screen."""
    if isinstance(shown.choice, PendingReward):
        shown.choice.see(item)


def _choose(shown: PendingSlate, chosen: PendingReward) -> None:
    """The first choice of a list holds. What is in it already, an event has shown."""
    if shown.choice is False:
        shown.choice = chosen
        for slot in shown.slots:
            chosen.see(slot.item)


def drawn(exposure: int, rate: float) -> bool:
    """Whether an exposure belongs to a share of all, by its id: a hash, whose first bits are as good as random."""
    return (exposure >> 11) * 2.0**-53 < rate
