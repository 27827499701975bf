"""Is a record in time, and not seen before? Event time only: the watermark is the newest time a partition has seen."""
from __future__ import annotations

import xxhash

from streams.core.join.events import Event, Exposure, Reason
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import Progress
from streams.core.state.tables import Tables
from streams.core.state.timers import EventTimers

SEEN = b"i"  # first byte of a seen id's key; its mark to be forgotten has another
MINUTE_MS = 60_000


class Admission:
    """Late, future and repeated records are told apart here; ids are remembered for a window of event time."""

    def __init__(self, settings: PartitionSettings, tables: Tables) -> None:
        self._settings = settings
        self._seen = tables.dedupe
        self._forget = EventTimers(tables.dedupe, b"t", step_ms=10 * MINUTE_MS)

    def refuse(self, record: Event | Exposure, default_id: str, arrival_ms: int, progress: Progress) -> tuple[Reason, str] | None:
        """Why this record must not be used; None: it may, and its id is remembered from now on."""
        s = self._settings
        if record.ts > arrival_ms + s.allowed_future_ms:
            return Reason.FUTURE, f"$.ts: {record.ts} is {record.ts - arrival_ms:,} ms ahead of its arrival; check the sender's clock"
        if record.ts < progress.watermark_ms - s.allowed_lateness_ms:
            return Reason.LATE, f"$.ts: {record.ts} is {progress.watermark_ms - record.ts:,} ms behind the newest event"
        name = record.event_id or default_id
        key = SEEN + xxhash.xxh3_128_digest(name.encode("utf-8", "surrogatepass"))
        if self._seen.get(key) is not None:
            return Reason.DUPLICATE, f"event id {name[:64]!r} was seen before"
        self._seen.put(key, b"\x01")
        self._forget.add(max(record.ts, progress.watermark_ms) + s.dedupe_window_ms, key)
        return None

    def forget(self, watermark_ms: int) -> None:
        """Drop ids whose window has passed: strictly, since an event as old as `allowed_lateness_ms` is still let in."""
        for key in self._forget.due(watermark_ms - 1):
            self._seen.delete(key)
