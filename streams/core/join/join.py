"""Exposures wait for their feedback and become examples (DESIGN.md section 5).

    exposure: Exposed ── first resolving act: Example, at once ── later acts: Reversals ── … retention: forgotten
         └── join window closes: Example if no act came, then Closed with the labels as they stand
             └── and of a slate whose strategy was drawn, once all of it has closed: Reward

A slate holds what one request showed to a user, or one impression that came without a request id. Window and retention
run for each exposure from its own moment, since a request may go on showing (a feed that is scrolled); within a
request an item is exposed once, and a second report of it is the same exposure.

An act finds its slate by the request id where it carries one, else by the last slate in which this user was shown this
item. An act with a request id whose exposure is not there waits until its own window closes, then counts as unjoined.
An act without a request id, outside of any open slate, implies its own impression. An impression without a request id is the one
of an open exposure that has had none yet (served, or implied by an act); otherwise it is an exposure of its own: shown again.

What the ranker makes of an exposure is predicted when it comes, and never with what later acts taught: `Exposed` leaves then. Where one
event is exposure and act, its Example is both.

What was only served (`Exposure.seen` false) is seen from its impression on, or from an act on it or on an item below it in its slate
(cascade). Until then it counts nowhere; where its window closes first, it becomes an example when it is seen after all, or never.

Where `negative_rate` is below 1, an exposure that closes without an act becomes an example at that rate, drawn by its id:
the same ones in every run. Of the others the learner gets their number, and the reversals of later acts: a reversal is a
difference, right whether or not the first half was learned.
"""
from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import xxhash

from online_model.features import TASKS, Closed, Example, ExampleRecord, Exposed, Reversal
from streams.core.join.labels import COLLECT, LABELS, Feedback
from streams.core.join.rewards import SlateReward
from streams.core.join.settings import MINUTE_MS, PartitionSettings
from streams.core.state.rows import PendingExposure, PendingFeedback, PendingReward, PendingSlate, Progress, UserPart
from streams.core.state.tables import Table
from streams.core.state.timers import FOREVER, EventTimers

SLATE, LAST = b"l", b"a"  # first byte of a key in `pending`: a user's slate; the slate in which a user was last shown an item
MAX_EXPOSURES = 200  # kept of one slate; beyond, the oldest is closed and forgotten
MAX_WAITING = 64  # acts that wait in one slate
MAX_REVERSALS = 8  # of one exposure: a finger that taps collect on and off is not endless evidence

_SLATE_KEY = struct.Struct(">QQ")  # user, slate
_EXPOSURE_ID = struct.Struct("<QQQq")  # user, slate, item, time
_STEP_MS = 10 * MINUTE_MS


class ExposureRef(NamedTuple):
    """An exposure in its slate, and where the slate lies."""

    key: bytes
    slate: PendingSlate
    exposure: PendingExposure


class FeedbackJoin:
    """The open and resolved slates of one partition. Records for the learner are appended to `emitted`, in order."""

    def __init__(self, settings: PartitionSettings, pending: Table[PendingSlate | bytes], progress: Progress) -> None:
        self._window_ms, self._retention_ms = settings.join_window_ms, settings.join_retention_ms
        self._negative_rate = settings.negative_rate
        self._pending = pending
        self._progress = progress
        self._reward = SlateReward(settings.reward)
        self._closing = EventTimers(pending, b"o", _STEP_MS)
        self._expiring = EventTimers(pending, b"x", _STEP_MS)
        self.emitted: list[ExampleRecord] = []
        self.seen: list[PendingExposure] = []  # what records have shown to be seen, of what was only served

    def slate(self, key: bytes) -> PendingSlate | None:
        """The slate of a key."""
        row = self._pending.get(SLATE + key)
        return row if isinstance(row, PendingSlate) else None

    def last(self, user: bytes, item: int) -> PendingExposure | None:
        """The exposure in which a user was last shown an item."""
        last = self._pending.get(LAST + user + item.to_bytes(8, "big"))
        slate = self.slate(user + last) if isinstance(last, bytes) else None
        return slate.exposure(item) if slate else None

    def locate(self, key: bytes, item: int, feedback: Feedback, by_request: bool) -> ExposureRef | None:
        """The exposure that an event belongs to: in the slate of its request, else in the last one that showed the item.

        None: the exposure has not come (yet), or the event is an exposure of its own.
        """
        if not by_request:
            last = self._pending.get(LAST + key[:8] + item.to_bytes(8, "big"))
            if not isinstance(last, bytes):
                return None
            key = key[:8] + last
        slate = self.slate(key)
        exposure = slate.exposure(item) if slate else None
        if slate is None or exposure is None:
            return None
        if not by_request and not feedback.delayed and (exposure.closed or (feedback.impression and not exposure.without_impression)):
            return None
        exposure.without_impression = exposure.without_impression and not feedback.impression
        return ExposureRef(key, slate, exposure)

    def show(
        self,
        key: bytes,
        part: UserPart,
        exposures: list[PendingExposure],
        pending_reward: PendingReward | None = None,
        resolved: bool = False,
    ) -> PendingSlate:
        """Add exposures of one moment to a slate, new or not; feedback that waited for them joins.

        `resolved`: the event that exposes them also acts on them.
        """
        slate = self.slate(key) or PendingSlate()
        if pending_reward is not None:
            _attach(slate, pending_reward)
        user, slate_id = _SLATE_KEY.unpack(key)
        for exposure in exposures:
            exposure.id = exposure_id(user, slate_id, exposure.item, exposure.shown_ms)
            exposure.part = len(slate.parts)
            self._pending.put(LAST + key[:8] + exposure.item.to_bytes(8, "big"), key[8:])
        slate.exposures += exposures
        slate.parts.append(part)
        if len(slate.exposures) > MAX_EXPOSURES:
            self._close_exposures(slate, [e for e in slate.exposures[:-MAX_EXPOSURES] if not e.closed])
            self._retain(key, slate, slate.exposures[-MAX_EXPOSURES:])
        self._expiring.add(exposures[0].shown_ms + self._retention_ms, key)
        self._keep_open(key, slate, exposures[0].shown_ms)
        if slate.waiting or not resolved:
            for exposure in exposures:
                exposure.predicted = True
                self.emitted.append(Exposed(exposure.id, exposure.shown_ms, exposure.features(part)))
        if slate.waiting:
            for exposure in exposures:
                self._join_waiting(slate, exposure)
        return slate

    def attach_reward(self, key: bytes, pending_reward: PendingReward) -> None:
        """How the strategy of a slate was drawn whose items were all there before: events were faster than the exposure."""
        slate = self.slate(key)
        if slate is not None and slate.pending_reward is False:
            _attach(slate, pending_reward)
            if not slate.open:
                self._emit_reward(key, slate)
            self._pending.put(SLATE + key, slate)

    def hold(self, key: bytes, feedback: PendingFeedback) -> bool:
        """Keep feedback until its exposure comes or its window closes; False where too much waits already."""
        slate = self.slate(key) or PendingSlate()
        if len(slate.waiting) >= MAX_WAITING:
            return False
        slate.waiting.append(feedback)
        self._keep_open(key, slate, feedback.ts)
        return True

    def add_feedback(self, ref: ExposureRef, feedback: PendingFeedback) -> tuple[int, int]:
        """An event of an exposure: the labels that it newly set and those that it took back, as bits."""
        slate, exposure = ref.slate, ref.exposure
        before = exposure.labels
        if feedback.resolving or feedback.undo:
            self._label(slate, exposure, feedback)
            if slate.pending_reward is True:
                self._progress.count("late_rewards")  # its reward has left
        elif not exposure.seen:
            self._learn_late(slate, self._see([exposure]))
        slate.observe(feedback.item)
        self._pending.put(SLATE + ref.key, slate)
        return exposure.labels & ~before & LABELS, before & ~exposure.labels

    def advance(self, before_ms: int) -> None:
        """Event time has moved on: close what is due, and forget once a minute.

        Both strictly, so that an act at the last moment still counts. Retention is no shorter than the window.
        """
        now_ms = self._progress.watermark_ms
        if now_ms > before_ms:
            for key in self._closing.due(now_ms - 1):
                self._close(key, now_ms - 1)
        if now_ms // MINUTE_MS > before_ms // MINUTE_MS:
            for key in self._expiring.due(now_ms - 1):
                self._expire(key, now_ms)

    def close_all(self) -> None:
        """The end of a log closes everything, in the order of the windows."""
        for key in self._closing.all():
            self._close(key, FOREVER)

    def _label(self, slate: PendingSlate, exposure: PendingExposure, feedback: PendingFeedback) -> None:
        """Set and take back labels; the example or the reversals that follow are emitted. What lies above the exposure was seen, too."""
        seen = self._see(islice(slate.exposures, 1 + next(n for n, each in enumerate(slate.exposures) if each is exposure)))
        before = exposure.labels
        after = (before | feedback.mask) & ~(COLLECT if feedback.undo else 0)
        if not exposure.made:
            exposure.labels = after
            if feedback.resolving:
                self._emit_example(slate, exposure, feedback.ts, feedback.arrival_ms)
        elif after != before and exposure.reversals < MAX_REVERSALS:
            exposure.labels = after
            for task in range(len(TASKS)):
                if (before ^ after) >> task & 1:
                    exposure.reversals += 1
                    sign = 1 if after >> task & 1 else -1
                    features = exposure.features(slate.parts[exposure.part])
                    self.emitted.append(Reversal(exposure.id, feedback.ts, feedback.arrival_ms, task, sign, 1.0, features))
        self._learn_late(slate, seen)

    def _see(self, exposures: Iterable[PendingExposure]) -> list[PendingExposure]:
        """Those that were not known to be seen, and are now."""
        seen = [exposure for exposure in exposures if not exposure.seen]
        for exposure in seen:
            exposure.seen = True
        self.seen += seen
        return seen

    def _learn_late(self, slate: PendingSlate, seen: Sequence[PendingExposure]) -> None:
        """Close anew what was seen only after its window."""
        self._close_exposures(slate, [exposure for exposure in seen if exposure.closed])

    def _keep_open(self, key: bytes, slate: PendingSlate, since_ms: int) -> None:
        self._closing.add(since_ms + self._window_ms, key)
        if not slate.open:
            slate.open = True
            self._progress.open_lists += 1
        self._pending.put(SLATE + key, slate)

    def _join_waiting(self, slate: PendingSlate, exposure: PendingExposure) -> None:
        """Feedback that came before this exposure joins it now; state and popularity moved when it came."""
        joining = [f for f in slate.waiting if f.item == exposure.item]
        if joining:
            slate.waiting = [f for f in slate.waiting if f.item != exposure.item]
            for feedback in joining:
                self._label(slate, exposure, feedback)
            slate.observe(exposure.item)

    def _close(self, key: bytes, until_ms: int) -> None:
        slate = self.slate(key)
        if slate is None or not slate.open:
            return
        self._close_exposures(slate, [e for e in slate.exposures if not e.closed and e.shown_ms + self._window_ms <= until_ms])
        waiting = [f for f in slate.waiting if f.ts + self._window_ms > until_ms]
        if len(waiting) < len(slate.waiting):
            self._progress.count("unjoined", len(slate.waiting) - len(waiting))
            slate.waiting = waiting
        if not waiting and all(e.closed for e in slate.exposures):
            slate.open = False
            self._progress.open_lists -= 1
            self._emit_reward(key, slate)
        self._put(key, slate)

    def _expire(self, key: bytes, now_ms: int) -> None:
        """Drop what was shown longer ago than its retention."""
        slate = self.slate(key)
        if slate is not None:
            kept = [e for e in slate.exposures if e.shown_ms + self._retention_ms >= now_ms]
            if len(kept) < len(slate.exposures):
                self._emit_reward(key, slate)
                self._retain(key, slate, kept)
                self._put(key, slate)

    def _close_exposures(self, slate: PendingSlate, exposures: list[PendingExposure]) -> None:
        if not exposures:
            return
        now_ms = self._progress.watermark_ms
        learned, left_out, unseen = list[PendingExposure](), list[PendingExposure](), list[PendingExposure]()
        for exposure in exposures:
            exposure.closed = True
            if not exposure.seen:
                unseen.append(exposure)
                continue
            if not exposure.made and sampled(exposure.id, self._negative_rate):
                self._emit_example(slate, exposure, now_ms, 0, self._negative_rate)
            (learned if exposure.made else left_out).append(exposure)
            exposure.made = True  # from here on, acts are reversals
        if left_out:
            self._progress.count("sampled_out", len(left_out))
        if unseen:
            self._progress.count("unseen", len(unseen))
        ids, unlearned = [e.id for e in learned], [e.id for e in (*left_out, *unseen) if e.predicted]
        self.emitted.append(Closed(now_ms, ids, [e.labels for e in learned], now_ms - self._window_ms, len(left_out), unlearned))

    def _emit_example(self, slate: PendingSlate, exposure: PendingExposure, ts: int, arrival_ms: int, sampling_rate: float = 1.0) -> None:
        exposure.made = True
        features = exposure.features(slate.parts[exposure.part])
        self.emitted.append(Example(exposure.id, ts, arrival_ms, exposure.labels & LABELS, sampling_rate, features, exposure.predicted))

    def _emit_reward(self, key: bytes, slate: PendingSlate) -> None:
        """The reward of a slate, once."""
        if isinstance(slate.pending_reward, PendingReward):
            user, request = _SLATE_KEY.unpack(key)
            labels = {e.item: e.labels for e in slate.exposures}
            self.emitted.append(self._reward.of(slate.pending_reward, request, user, self._progress.watermark_ms, labels))
            slate.pending_reward = True

    def _retain(self, key: bytes, slate: PendingSlate, kept: list[PendingExposure]) -> None:
        """Forget a slate's other exposures: what points to them, and the user's halves that only they needed."""
        staying = {e.item for e in kept}
        for exposure in slate.exposures:
            last = LAST + key[:8] + exposure.item.to_bytes(8, "big")
            if exposure.item not in staying and self._pending.get(last) == key[8:]:
                self._pending.delete(last)
        used = sorted({e.part for e in kept})
        place_of = {part: at for at, part in enumerate(used)}
        for exposure in kept:
            exposure.part = place_of[exposure.part]
        slate.exposures, slate.parts = kept, [slate.parts[part] for part in used]

    def _put(self, key: bytes, slate: PendingSlate) -> None:
        """Save a slate, or delete it when there is nothing left in it."""
        if slate.exposures or slate.waiting:
            self._pending.put(SLATE + key, slate)
        else:
            self._pending.delete(SLATE + key)


def exposure_id(user: int, slate: int, item: int, shown_ms: int) -> int:
    """The 64-bit id of an exposure: a hash of the user's, the slate's and the item's key and of the moment (ms)."""
    return xxhash.xxh3_64_intdigest(_EXPOSURE_ID.pack(user, slate, item, shown_ms))


def slate_key(user: int, slate: int) -> bytes:
    """The key of a user's slate.

    >>> slate_key(1, 2).hex()
    '00000000000000010000000000000002'
    """
    return _SLATE_KEY.pack(user, slate)


def _attach(slate: PendingSlate, pending_reward: PendingReward) -> None:
    """The first draw of a slate holds. What is in the slate already, an event has shown."""
    if slate.pending_reward is False:
        slate.pending_reward = pending_reward
        for exposure in slate.exposures:
            pending_reward.observe(exposure.item)


def sampled(exposure: int, rate: float) -> bool:
    """Whether an exposure belongs to a share of all, by its id: a hash, whose first bits are as good as random.

    >>> sampled(1 << 63, 0.5), sampled((1 << 63) - 1, 0.5)
    (False, True)
    """
    return (exposure >> 11) * 2.0**-53 < rate
