"""Settings of a partition that contradict each other are refused by name."""
from __future__ import annotations

import msgspec
import pytest

from streams.core.join.settings import PartitionSettings

HOUR = 3_600_000


def test_settings_under_which_a_late_repeat_would_be_learned_are_refused() -> None:
    with pytest.raises(ValueError, match=r"dedupe_window_ms \(3,599,999\) must be at least allowed_lateness_ms \(3,600,000\)"):
        PartitionSettings(dedupe_window_ms=HOUR - 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"join_retention_ms": 599_999}, r"join_retention_ms \(599,999\) must be at least join_window_ms \(600,000\)"),
        ({"partial_play_ratio": 0.95}, r"partial_play_ratio \(0.95\) <= full_play_ratio \(0.9\)"),
        ({"partial_play_ratio": 0.0}, r"0 < partial_play_ratio \(0.0\)"),
        ({"negative_rate": 1.5}, r"<= 1.0 - at `\$.negative_rate`"),
        ({"history_limit": 0}, r">= 1 - at `\$.history_limit`"),
    ],
)
def test_windows_ratios_and_limits_that_cannot_be_are_refused(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(wrong, PartitionSettings)
