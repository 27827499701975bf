from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from streams.children import Child, stop

ROOT = Path(__file__).resolve().parents[2]


def child(tmp_path: Path, code: str, name: str = "child") -> Child:
    return Child(name, [sys.executable, "-c", code], tmp_path / f"{name}.log", os.environ)


def until_said(log: Path, word: str) -> None:
    deadline = time.monotonic() + 20
    while not log.exists() or word not in log.read_text():
        assert time.monotonic() < deadline, "nothing was said"
        time.sleep(0.02)


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_an_ending_tells_code_or_signal_and_the_last_words(tmp_path: Path) -> None:
    ended, killed = child(tmp_path, "print('so be it'); raise SystemExit(3)"), child(tmp_path, "import time; time.sleep(60)", "killed")
    assert ended.wait(20) and not ended.alive
    assert ended.ending == f"ended with 3; the end of {ended.log_file}:\nso be it"
    killed.signal(signal.SIGKILL)
    assert killed.wait(20)
    assert killed.ending == f"was ended by SIGKILL, and said nothing ({killed.log_file})"


def test_what_does_not_end_in_time_is_killed_and_named(tmp_path: Path) -> None:
    willing = child(tmp_path, "import time; print('here', flush=True); time.sleep(60)", "willing")
    deaf = child(tmp_path, "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(60)", "deaf")
    for one in (willing, deaf):
        until_said(one.log_file, "here")
    assert stop([willing, deaf], 1.0) == ["deaf"]
    assert not willing.alive and not deaf.alive
    assert stop([willing, deaf], 1.0) == []


def test_a_parent_that_is_killed_takes_its_children_with_it(tmp_path: Path) -> None:
    code = (
        "import os, sys, time; from pathlib import Path; from streams.children import Child\n"
        "c = Child('c', [sys.executable, '-c', 'import time; time.sleep(60)'], Path(sys.argv[1]), os.environ)\n"
        "print(c.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while running(pid):
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.02)
