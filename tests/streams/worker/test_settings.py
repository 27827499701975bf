"""What a worker's parts may be set to."""
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from streams.worker.settings import IngestSettings, TickSettings


def test_ticks_before_they_could_be_due_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold"):
        TickSettings(first_ms=500, every_ms=200)


@pytest.mark.parametrize("bad", [{"flush_records": 0}, {"flush_ms": -1.0}, {"buffer_mb": 0}, {"stall_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected `(int|float)` (>=|>) "):
        msgspec.convert(bad, IngestSettings)
