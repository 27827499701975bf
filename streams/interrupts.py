"""What SIGINT, SIGTERM and SIGHUP do to a process that has something to stop in order."""
from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(RuntimeError):
    """A signal came before there was anything to sum up."""


class Signals:
    """SIGINT, SIGTERM and SIGHUP: an interruption where nothing else is said, else what is said."""

    def __init__(self) -> None:
        self.seen = False
        self._then: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def then(self, then: Callable[[], object]) -> None:
        """From now on do this."""
        self._then = then

    def calm(self) -> None:
        """From now on do nothing: what is still to be done ends by itself, soon."""
        self._then = lambda: None

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        if self._then is None:
            raise Interrupted(f"stopped by {signal.Signals(number).name} before anything ran")
        self._then()
