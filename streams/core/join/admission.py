"""Is a record in time, and not seen before? Event time only: the watermark is the newest time a partition has seen."""
from __future__ import annotations

import xxhash

from online_model.decay import DAY_MS
from streams.core.join.events import Event, Exposure, Reason
from streams.core.join.records import Arrived
from streams.core.join.settings import MINUTE_MS, PartitionSettings
from streams.core.state.rows import Progress
from streams.core.state.tables import Table
from streams.core.state.timers import EventTimers

SEEN = b"i"  # first byte of a seen id's key; its timer has another
JUMP_MS = DAY_MS  # no product is without an event for so long, and what is learned of a moment is not of one so much later
TIME_JUMPS = "time_jumps"  # count of them


class Admission:
    """Refuses late, future and repeated records; remembers ids for a window of event time."""

    def __init__(self, settings: PartitionSettings, dedupe: Table[bytes], progress: Progress) -> None:
        self._settings, self._seen, self._progress = settings, dedupe, progress
        self._forget = EventTimers(dedupe, b"t", step_ms=MINUTE_MS)  # of millions, those of one minute in memory

    def admit(self, record: Event | Exposure, arrived: Arrived) -> tuple[Reason, str] | None:
        """Why this record must not be used. None: it may, its id is remembered, and event time moves on to it.

        The id is chained into the log's hash: two logs that differ by an event, or by the order of two, differ there.
        """
        s, progress = self._settings, self._progress
        if record.ts > arrived.arrival_ms + s.allowed_future_ms:
            return (
                Reason.FUTURE,
                f"$.ts: {record.ts} is {record.ts - arrived.arrival_ms:,} ms ahead of its arrival; check the sender's clock",
            )
        if record.ts < progress.watermark_ms - s.allowed_lateness_ms:
            return Reason.LATE, f"$.ts: {record.ts} is {progress.watermark_ms - record.ts:,} ms behind the newest event"
        event_id = record.event_id or arrived.default_id
        encoded = event_id.encode("utf-8", "surrogatepass")
        key = SEEN + xxhash.xxh3_128_digest(encoded)
        if self._seen.get(key) is not None:
            return Reason.DUPLICATE, f"event id {event_id[:64]!r} was seen before"
        self._seen.put(key, b"\x01")
        self._forget.add(max(record.ts, progress.watermark_ms) + s.dedupe_window_ms, key)
        progress.log = xxhash.xxh3_64_intdigest(progress.log.to_bytes(8, "big") + encoded)
        self.advance(record.ts)
        return None

    def advance(self, ts: int) -> None:
        """Move the watermark; once a minute of event time, drop ids whose window has passed.

        Strictly, since an event as old as `allowed_lateness_ms` is still let in.
        """
        progress, before = self._progress, self._progress.watermark_ms
        if ts > before:
            progress.watermark_ms = ts
            if ts - before > JUMP_MS and before >= 0:
                progress.jumped_from_ms, progress.jumped_to_ms = before, ts
                progress.count(TIME_JUMPS)
            if ts // MINUTE_MS > before // MINUTE_MS:
                for key in self._forget.due(ts - 1):
                    self._seen.delete(key)


def rows_are_stale(progress: Progress, ts: int) -> bool:
    """Whether event time has jumped by more than a day up to `ts`, or within the day before it.

    Then most of what was learned and counted is of a time that is over, and some of it has expired at once.
    """
    if progress.watermark_ms < 0:
        return False
    return ts - progress.watermark_ms > JUMP_MS or (progress.jumped_to_ms >= 0 and ts - progress.jumped_to_ms <= JUMP_MS)
