"""What SIGINT, SIGTERM and SIGHUP do to a process that has something to stop in order."""
from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes meanwhile is taken afterwards. For what happens whole or not at all, such as the start of a
    process: interrupted halfway, it runs and nobody knows it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are taken in the main thread
        return
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    came: list[int] = []
    holding = True

    def take(number: int, frame: FrameType | None) -> None:
        if holding:
            came.append(number)
        else:  # another was given back and raised at once, before this one was
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        for number in before:
            signal.signal(number, take)
        yield
    finally:
        holding = False
        with contextlib.ExitStack() as last_first:  # all of it, whatever one of them raises
            for seen in came:
                last_first.callback(signal.raise_signal, seen)
            for number, handler in before.items():
                last_first.callback(signal.signal, number, handler)
