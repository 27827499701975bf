"""A lock file: one holder at a time, named, until its process ends."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streams.worker.hold import HeldError, hold
from tests.paths import ROOT


def test_what_is_held_is_refused_with_the_name_of_its_holder_until_it_lets_go(tmp_path: Path) -> None:
    lock = hold(tmp_path / "deep" / "a.lock")
    with pytest.raises(HeldError, match=f"process {os.getpid()} on "):
        hold(tmp_path / "deep" / "a.lock")
    os.close(hold(tmp_path / "deep" / "b.lock"))
    os.close(lock)
    os.close(hold(tmp_path / "deep" / "a.lock"))


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from streams.worker.hold import *; hold(Path(sys.argv[1])); print(1, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; time.sleep(60)", str(tmp_path / "a.lock")], stdout=subprocess.PIPE, cwd=ROOT
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        with pytest.raises(HeldError, match=f"process {process.pid} on "):
            hold(tmp_path / "a.lock")
        process.send_signal(signal.SIGKILL)
        process.wait()
    os.close(hold(tmp_path / "a.lock"))
