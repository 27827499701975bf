"""Child processes that never outlive this one: each in a session of its own, its output in a file.

The terminal's Ctrl-C reaches only the parent, which ends the others in order. A parent that is killed outright takes
them with it: the kernel sends each the signal it was tied by (Linux).
"""
from __future__ import annotations

import contextlib
import os
import signal
import subprocess  # noqa: S404 - our own command lines
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from streams.interrupts import held

TAIL_BYTES = 2_000  # of its output, in a message
TURN_S = 0.25  # of waiting for a process

# Runs in the child before it becomes the command.
_TIED = (
    "import ctypes,os,sys\n"
    "if sys.platform == 'linux':\n"
    " ctypes.CDLL(None).prctl(1, int(sys.argv[2]))\n"
    " if os.getppid() != int(sys.argv[1]): sys.exit(0)\n"
    "os.execv(sys.argv[3], sys.argv[3:])"
)


def tied(command: Sequence[str], by: signal.Signals) -> list[str]:
    """The command such that the process gets the signal `by` when the thread that starts it is gone."""
    return [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), str(int(by)), *command]


def run(command: Sequence[str], cwd: Path | None = None, limit_s: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """`subprocess.run` with its output captured; no signal leaves the process behind. `command` begins with a path.

    Raises subprocess.TimeoutExpired, and OSError where `cwd` is no folder."""
    process: subprocess.Popen[bytes] | None = None
    try:
        with held():
            process = subprocess.Popen(  # noqa: S603 - our own command line
                tied(command, signal.SIGKILL), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        out, err = _output(process, limit_s)
    except BaseException:
        with held():
            if process is not None:
                _kill(process)
        raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _output(process: subprocess.Popen[bytes], limit_s: float | None) -> tuple[bytes, bytes]:
    """What a process says until it ends, waited for in turns: a signal that comes just before a wait begins is seen after it."""
    deadline = None if limit_s is None else time.monotonic() + limit_s
    while True:
        left = TURN_S if deadline is None else min(TURN_S, max(0.0, deadline - time.monotonic()))
        try:
            return process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            if deadline is not None and limit_s is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(process.args, limit_s) from None


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and whatever it has started; its output is not read."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class Child:
    """A child process. Start it from the main thread: it is killed when the thread that started it ends."""

    def __init__(self, name: str, command: Sequence[str], log_file: Path, environment: Mapping[str, str]) -> None:
        self.name, self.log_file = name, log_file
        with log_file.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                tied(command, signal.SIGKILL),
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, env=dict(environment),
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, and the end of its output."""
        code = self._process.poll()
        how = "is running" if code is None else f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        output = self.log_file.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        return f"{how}; the end of {self.log_file}:\n{output}" if output else f"{how}, without output ({self.log_file})"

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process and whatever it may have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, limit_s: float) -> bool:
        """Whether it ended within the limit."""
        try:
            self._process.wait(max(limit_s, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True


def stop(children: Iterable[Child], limit_s: float) -> list[str]:
    """SIGTERM to all at once, SIGKILL to those that are still there after the limit; the names of these."""
    running = [child for child in children if child.alive]
    for child in running:
        child.signal(signal.SIGTERM)
    deadline = time.monotonic() + limit_s
    late = [child for child in running if not child.wait(deadline - time.monotonic())]
    for child in late:
        child.signal(signal.SIGKILL)
        child.wait(limit_s)
    return [child.name for child in late]
