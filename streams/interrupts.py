"""SIGINT, SIGTERM and SIGHUP in a process that has parts to stop in order."""
from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(RuntimeError):
    """A signal came before there was a result to report."""


class Signals:
    """While it is open, the signals raise `Interrupted`, or call what `handle_with` was given; afterwards, all is as it was before."""

    def __init__(self) -> None:
        self.seen = False
        self._action: Callable[[], object] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def handle_with(self, action: Callable[[], object]) -> None:
        """From now on, a signal calls `action`."""
        self._action = action

    def ignore(self) -> None:
        """From now on, a signal does nothing: what is left to do ends by itself, soon."""
        self._action = lambda: None

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        if self._action is None:
            raise Interrupted(f"stopped by {signal.Signals(number).name} before anything ran")
        self._action()


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Delay signals to the end of the block.

    For what must happen whole or not at all, such as the start of a process: interrupted halfway, it would run unnoticed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are taken in the main thread
        return
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    pending: list[int] = []
    holding = True

    def delay(number: int, frame: FrameType | None) -> None:
        if holding:
            pending.append(number)
        else:  # another signal was raised again before the handler of this one was back
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    try:
        for number in before:
            signal.signal(number, delay)
        yield
    finally:
        holding = False
        with contextlib.ExitStack() as last_first:  # all of it, whatever one of them raises
            for seen in pending:
                last_first.callback(signal.raise_signal, seen)
            for number, handler in before.items():
                last_first.callback(signal.signal, number, handler)
