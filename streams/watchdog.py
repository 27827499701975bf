"""Ends the process where something hangs or breaks: a restart goes on exactly, the process itself might not."""
from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

SOFTWARE = 70  # exit code, EX_SOFTWARE: the supervisor restarts us

log = logging.getLogger(__name__)


def end(why: str, error: BaseException | None = None) -> NoReturn:
    """Log the reason and end the process at once: nothing is flushed or acknowledged, as in a kill."""
    log.critical("%s; the process ends, a restart goes on exactly", why, exc_info=error)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(SOFTWARE)


class Watchdog:
    """A thread that ends the process when work does not end in time, or the event loop is blocked."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._started: dict[str, float] = {}
        self._stopped = threading.Event()
        self._beat: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the thread, and a task that reports for the running event loop."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        self._beat = asyncio.get_running_loop().create_task(self._report())

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()
        if self._beat is not None:
            self._beat.cancel()

    @contextlib.contextmanager
    def busy(self, what: str) -> Iterator[None]:
        """The block must end within the limit. `what` names it in the message."""
        self._started[what] = time.monotonic()
        try:
            yield
        finally:
            self._started.pop(what, None)

    def stalled(self) -> list[str]:
        """What has exceeded the limit; empty: all is well.

        >>> Watchdog(limit_s=60.0).stalled()
        []
        """
        now = time.monotonic()
        return [what for what, since in list(self._started.items()) if now - since > self.limit_s]

    async def _report(self) -> None:
        try:
            while True:
                self._started["event loop"] = time.monotonic()
                await asyncio.sleep(min(1.0, self.limit_s / 4))
        finally:
            self._stopped.set()  # a loop that has ended is not blocked

    def _watch(self) -> None:
        while not self._stopped.wait(1):
            stalled = self.stalled()
            if stalled:
                faulthandler.dump_traceback(sys.stderr, all_threads=True)
                end(f"{', '.join(stalled)}: no progress for {self.limit_s:.0f} s")
