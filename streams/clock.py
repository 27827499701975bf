"""The clock of this machine, as the shell reads it; below the shell, time is a parameter."""
from __future__ import annotations

import time


def now_ms() -> int:
    """UTC in milliseconds, as event times are.

    >>> 1_700_000_000_000 < now_ms()
    True
    """
    return time.time_ns() // 1_000_000
