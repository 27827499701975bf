"""One holder at a time of what lies on disk: a lock on a file beside it, which ends with its process and says who has it."""
from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path


class HeldError(RuntimeError):
    """Somebody else has it; the message is who."""


def hold(path: Path) -> int:
    """Take the lock file until the descriptor that this returns is closed. Nothing but the lock file is touched.

    Raises HeldError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 1_000, 0).decode(errors="replace")
        os.close(lock)
        raise HeldError(holder or "another process") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, this_process().encode(), 0)
    return lock


def this_process() -> str:
    """How a message names this process.

    >>> this_process().startswith("process ")
    True
    """
    return f"process {os.getpid()} on {socket.gethostname()}"
