from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.children import Child, run, stop
from streams.interrupts import Interrupted, Signals
from streams.kafka_io.broker import EmbeddedBroker
from tests.paths import ROOT

SLEEP = str(shutil.which("sleep"))


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
    except (FileNotFoundError, ProcessLookupError):
        return False


def ours() -> set[int]:
    """Processes that this one has started and that run."""
    found = set()
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
            found |= {int(pid) for pid in children.read_text().split()}
    return {pid for pid in found if running(pid)}


def through_run(folder: Path) -> None:
    run([SLEEP, "60"])


def through_broker(folder: Path) -> None:
    broker = EmbeddedBroker(folder)
    try:
        broker._launch(str(folder / "java"), folder, folder / "properties")
        while True:
            time.sleep(0.1)  # in turns, as a process waits
    finally:
        broker.stop(5.0)


@pytest.mark.parametrize("begin", [through_run, through_broker])
def test_whenever_a_signal_comes_no_process_is_left(begin: Callable[[Path], None], tmp_path: Path) -> None:
    """At 40 moments of the first 20 ms, where a process takes 1 to 5 to begin."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexec sleep 60\n")
    java.chmod(0o700)

    known = ours()
    for moment in range(1, 41):
        begun = time.monotonic()
        with Signals(), pytest.raises(Interrupted, match="SIGTERM"):
            threading.Timer(moment * 5e-4, signal.pthread_kill, (threading.main_thread().ident, signal.SIGTERM)).start()
            begin(tmp_path)
        assert ours() <= known, f"{moment * 0.5} ms after the beginning"
        assert time.monotonic() - begun < 20, "the signal was seen only when the process had ended by itself, a minute later"
    time.sleep(0.1)
    assert ours() <= known


def test_a_process_that_is_waited_for_says_its_words_or_is_too_late(tmp_path: Path) -> None:
    done = run([sys.executable, "-c", "import os, sys; print(os.getcwd()); print('alas', file=sys.stderr); sys.exit(3)"], tmp_path)
    assert (done.returncode, done.stdout.decode(), done.stderr) == (3, f"{tmp_path}\n", b"alas\n")
    slowly = "import time; print('a' * 150_000, flush=True); time.sleep(0.2); print('b' * 150_000)"  # more than a pipe holds
    assert run([sys.executable, "-c", slowly]).stdout == b"a" * 150_000 + b"\n" + b"b" * 150_000 + b"\n"
    known = ours()
    with pytest.raises(subprocess.TimeoutExpired, match=r"sleep', '60'.*0\.3 seconds"):
        run([SLEEP, "60"], limit_s=0.3)
    assert ours() <= known


def test_an_ending_tells_code_or_signal_and_the_last_words(tmp_path: Path) -> None:
    known = ours()
    ended, killed = child(tmp_path, "print('so be it'); raise SystemExit(3)"), child(tmp_path, "import time; time.sleep(60)", "killed")
    assert ended.wait(20) and not ended.alive
    assert ended.ending == f"ended with 3; the end of {ended.log_file}:\nso be it"
    assert killed.pid in ours() - known
    killed.signal(signal.SIGKILL)
    assert killed.wait(20)
    assert killed.ending == f"was ended by SIGKILL, without output ({killed.log_file})"


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
