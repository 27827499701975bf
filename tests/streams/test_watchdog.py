from __future__ import annotations

import subprocess
import sys

from streams.watchdog import SOFTWARE
from tests.paths import ROOT

RUN = "import asyncio, sys, time; from streams.watchdog import *\nasync def main():\n    w = Watchdog(1.0); w.start()\n    "


def _run(body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"{RUN}{body}\nasyncio.run(main())"], capture_output=True, text=True, cwd=ROOT, timeout=30)


def test_work_that_does_not_end_ends_the_process() -> None:
    done = _run("with w.busy('a flush'): await asyncio.sleep(20)")
    assert done.returncode == SOFTWARE
    assert "a flush: no progress for 1 s" in done.stderr


def test_an_event_loop_that_stands_still_ends_the_process() -> None:
    done = _run("await asyncio.sleep(0.1); time.sleep(20)")
    assert done.returncode == SOFTWARE
    assert "event loop" in done.stderr
    assert "time.sleep" in done.stderr or "most recent call first" in done.stderr


def test_what_ends_in_time_is_left_alone() -> None:
    done = _run("for _ in range(6):\n        with w.busy('a flush'): await asyncio.sleep(0.4)\n    print('alive')\n    w.stop()")
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_the_watch_ends_with_its_loop() -> None:
    """A loop that failed has its own error to tell; the process around it must live to print it."""
    again = "try: asyncio.run(main())\nexcept KeyError: time.sleep(3); print('alive'); sys.exit()"
    done = _run(f"raise KeyError('its own')\n{again}")
    assert (done.returncode, done.stdout) == (0, "alive\n")
