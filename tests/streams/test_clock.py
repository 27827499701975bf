"""The clock is UTC, in milliseconds."""
from __future__ import annotations

from datetime import UTC, datetime

from streams.clock import now_ms


def test_now_is_utc_in_milliseconds() -> None:
    before = datetime.now(UTC).timestamp() * 1000
    assert before - 1 <= now_ms() <= datetime.now(UTC).timestamp() * 1000
