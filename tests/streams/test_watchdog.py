from __future__ import annotations

import subprocess
import sys

import pytest

from streams.watchdog import OPERATOR, SOFTWARE
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


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("NeedsOperator('the store is of another topic;\\n move it away')", "the store is of another topic; move it away"),
        ("PermissionError(13, 'Permission denied', '/state')", "/state: Permission denied; give the process its folder, or set another"),
        ("OSError(30, 'Read-only file system', '/state')", "/state: Read-only file system; give the process its folder, or set another"),
    ],
)
def test_what_no_restart_mends_is_one_line_and_the_exit_code_of_a_wrong_call(error: str, line: str) -> None:
    done = _run(f"end('a part failed', {error})")
    assert (done.returncode, done.stderr) == (OPERATOR, f"segue: {line}\n")


@pytest.mark.parametrize(
    "error", ["KeyError('a bug')", "OSError(28, 'No space left on device', '/state')", "PermissionError(13, 'denied')"]
)
def test_what_a_restart_may_mend_has_its_traceback_and_another_exit_code(error: str) -> None:
    done = _run(f"try: raise {error}\n    except Exception as error: end('a part failed', error)")
    assert done.returncode == SOFTWARE
    assert "a part failed; the process ends, a restart goes on exactly" in done.stderr and "Traceback" in done.stderr


def test_what_ends_in_time_is_left_alone() -> None:
    done = _run("for _ in range(6):\n        with w.busy('a flush'): await asyncio.sleep(0.4)\n    print('alive')\n    w.stop()")
    assert (done.returncode, done.stdout) == (0, "alive\n")


def test_the_watch_ends_with_its_loop() -> None:
    """A loop that failed has its own error to tell; the process around it must live to print it."""
    again = "try: asyncio.run(main())\nexcept KeyError: time.sleep(3); print('alive'); sys.exit()"
    done = _run(f"raise KeyError('its own')\n{again}")
    assert (done.returncode, done.stdout) == (0, "alive\n")
