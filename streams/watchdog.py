"""Ends the process where something hangs or breaks: a restart goes on exactly, the process itself might not.

What a restart would meet again (settings, topics and state that don't fit together) ends it with another exit code, by which a
supervisor knows to leave it alone: docs/reference.md, *Exit codes*.
"""
from __future__ import annotations

import asyncio
import contextlib
import errno
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

SOFTWARE = 70  # exit code, EX_SOFTWARE: the supervisor restarts us
OPERATOR = 2  # exit code, as of a wrong call: a restart would meet the same error again

_IN_THE_WAY = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)  # of a file: until somebody moves it

log = logging.getLogger(__name__)


class NeedsOperator(RuntimeError):
    """Settings, topics and state don't fit together, and a restart can't mend it. The message says what was found and what to do."""


def end(why: str, error: BaseException | None = None) -> NoReturn:
    """Log the reason and end the process at once: nothing is flushed or acknowledged, as in a kill.

    An error that a restart can't mend is one line and exit code 2, any other one its traceback and 70.
    """
    line = unmendable(error)
    if line is None:
        log.critical("%s; the process ends, a restart goes on exactly", why, exc_info=error)
    else:
        log.debug("%s", why, exc_info=error)
        print(f"segue: {line}", file=sys.stderr)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(SOFTWARE if line is None else OPERATOR)


def unmendable(error: BaseException | None) -> str | None:
    """One line about an error that a restart would meet again; None for any other.

    >>> unmendable(NeedsOperator("no checkpoint is whole; remove the directory")), unmendable(KeyError("a bug"))
    ('no checkpoint is whole; remove the directory', None)
    """
    if isinstance(error, NeedsOperator):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY and error.filename is not None:
        return f"{error.filename}: {error.strerror}; give the process its folder, or set another"
    return None


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
