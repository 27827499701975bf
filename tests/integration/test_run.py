"""`segue run` from outside, as its user has it: what it says, how it ends, and that it leaves nothing behind."""
from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient

from online_model.features import TASKS
from streams.kafka_io.broker import EmbeddedBroker
from tests.paths import ROOT

pytestmark = pytest.mark.broker

LIMIT_S = 10  # that Ctrl-C and a death may take
LISTENING = "the service answers at "


class Run:
    """One run, in a folder of its own."""

    def __init__(self, folder: Path, *arguments: str, terminal: int | None = None) -> None:
        self.folder = folder
        self._said = folder / "said"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")}
        environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "80"}
        with self._said.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "streams", "run", *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE,
                stderr=err if terminal is None else terminal, text=True, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self._said.read_text()

    @property
    def files(self) -> Path:
        return next((self.folder / "run").glob("live-*"))  # of a run that names no other

    def ports(self) -> set[int]:
        """All that were told, and those of the broker."""
        told = re.findall(r"127\.0\.0\.1:(\d+)", self.said) + (self.files / "kafka" / "ports").read_text().split()
        settings = (self.files / "segue.toml").read_text()
        return {int(port) for port in [*told, *re.findall(r"^port = (\d+)", settings, re.MULTILINE)]}

    def until(self, words: str, limit_s: float = 90.0) -> None:
        deadline = time.monotonic() + limit_s
        while words not in self.said:
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)

    def until_taken(self) -> None:
        """Wait until the worker has taken events in, and has told so, as it does once a second."""
        (at,) = re.findall(rf"{LISTENING}(\S+),", self.said)
        deadline = time.monotonic() + 30
        while not re.search(r'^segue_records_total{.*what="events".*} [1-9]', self._metrics(at), re.MULTILINE):
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)
        time.sleep(1.5)

    def _metrics(self, at: str) -> str:
        with urllib.request.urlopen(f"{at}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
            return str(answer.read().decode())

    def processes(self) -> dict[int, str]:
        """Command lines of all that was started, wherever their parent is: each works in the folder or below."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(self.folder):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended
        return found

    def child(self, verb: str) -> int:
        return next(pid for pid, command in self.processes().items() if f" -m streams {verb} " in command)

    def ended(self, limit_s: float = LIMIT_S) -> tuple[int, str]:
        """Exit code and stdout."""
        out, _ = self.process.communicate(timeout=limit_s)
        return self.process.returncode, out


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    runs: list[Run] = []

    def start(*arguments: str, terminal: int | None = None) -> Run:
        runs.append(Run(tmp_path, *arguments, terminal=terminal))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.communicate()
        for pid in run.processes():
            os.kill(pid, signal.SIGKILL)


def listening(ports: set[int]) -> set[int]:
    """Those of the ports that somebody listens on."""
    found = set()
    for port in ports:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                found.add(port)
    return found


def locked(folder: Path) -> list[Path]:
    """Lock files that somebody holds."""
    held = []
    for path in (p for p in folder.rglob("*") if p.name.lower() == "lock"):
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                held.append(path)
    return held


@pytest.mark.alone
def test_a_run_ends_by_itself_with_everything_learned(started: Any) -> None:
    run = started("--seconds", "10", "--json", "--seed", "3")
    run.until(LISTENING)
    ports = run.ports()
    assert len(listening(ports)) == len(ports) >= 4  # Kafka's two, the worker's, the learner's
    code, out = run.ended(90)
    assert code == 0, run.said
    told = json.loads(out)
    assert told["complete"] and told["lag"] == 0 and told["seed"] == 3 and told["join_window_s"] == 20.0
    assert 10 <= told["seconds"] < 11
    assert told["events"] > 400 and told["lists"] > 20 and told["pages"] > 20 and told["failed_requests"] == 0 and told["rejected"] == {}
    assert told["unlearned"] == told["unjoined"] == 0
    assert 0 < told["freshness_p50_ms"] <= told["freshness_p99_ms"]
    assert set(told["metrics"]) == set(TASKS)
    assert {m["n"] for m in told["metrics"].values()} == {told["examples"]}  # a closing tick closes every window: all are scored
    assert told["metrics"]["skip"]["auc"] is not None and 0 < told["collect_rate"] < 1 and told["dislikes_per_1000_plays"] > 0
    strategies = told["surfaces"]["page"]["strategies"]  # a closing tick closes every page: all that was looked at is learned
    assert sum(one["chance"] for one in strategies.values()) == pytest.approx(1.0)
    assert 0 < sum(one["rounds"] for one in strategies.values()) < told["pages"] + 1e-6
    assert all(one["value_error"] > 0 for one in strategies.values())
    assert "events/s" in run.said and "\x1b" not in run.said  # no terminal: plain lines
    assert run.processes() == {} and listening(ports) == set() and list((run.folder / "run").iterdir()) == []


def test_ctrl_c_in_the_middle_stops_all_and_leaves_nothing(started: Any) -> None:
    run = started("--json")
    run.until(LISTENING)
    ports = run.ports()
    run.until_taken()
    run.process.send_signal(signal.SIGINT)
    code, out = run.ended()
    told = json.loads(out)
    assert (code, told["complete"], told["lag"]) == (0, False, None) and told["events"] > 0
    assert run.processes() == {} and listening(ports) == set() and list((run.folder / "run").iterdir()) == []


def test_a_terminal_shows_the_panel_and_its_end_is_that_of_the_run(started: Any, broker: EmbeddedBroker) -> None:
    """No signal comes: where a run is not the first process of its terminal, the kernel tells that one."""
    ours, its = os.openpty()
    run = started("--broker", broker.bootstrap, terminal=its)
    os.close(its)
    shown = b""
    while b"0:02 " not in shown:
        shown += os.read(ours, 1 << 16)
    assert all(word.encode() in shown for word in ("Segue", "join window 20 s", "freshness p50", "lag", "AUC", "Ctrl-C stops all"))
    os.close(ours)
    run.ended()
    assert run.processes() == {} and list((run.folder / "run").iterdir()) == []


@pytest.mark.parametrize(("words", "number"), [("Kafka starts", signal.SIGINT), ("worker and learner start", signal.SIGTERM)])
def test_a_signal_during_the_start_stops_all_and_leaves_nothing(words: str, number: signal.Signals, started: Any) -> None:
    run = started("--seconds", "60")
    run.until(words)
    run.process.send_signal(number)
    code, out = run.ended()
    assert (code, out) == (1, "") and "stopped" in run.said and "Traceback" not in run.said
    assert run.processes() == {} and list((run.folder / "run").iterdir()) == []


def test_a_killed_run_leaves_no_process_no_port_and_no_lock(started: Any) -> None:
    run = started("--seconds", "60")
    run.until(LISTENING)
    ports = run.ports()
    assert len(run.processes()) == 4  # itself, Kafka, worker, learner
    run.process.kill()
    run.process.wait()
    deadline = time.monotonic() + LIMIT_S
    while run.processes():
        assert time.monotonic() < deadline, run.processes()
        time.sleep(0.1)
    assert listening(ports) == set() and locked(run.folder) == []


def test_the_death_of_a_child_ends_the_run_and_is_told(started: Any) -> None:
    run = started("--seconds", "60", "--json")
    run.until(LISTENING)
    ports = run.ports()
    os.kill(run.child("worker"), signal.SIGKILL)
    code, out = run.ended()
    assert (code, out) == (1, "")
    assert "segue: the worker was ended by SIGKILL" in run.said and "Traceback" not in run.said
    assert run.processes() == {} and listening(ports) == set()
    assert (run.files / "worker.log").exists() and locked(run.folder) == []  # what they said stays


def test_a_broker_of_others_is_left_as_it_was_and_a_folder_that_was_named_stays(started: Any, broker: EmbeddedBroker) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    run = started("--seconds", "3", "--json", "--broker", broker.bootstrap, "--set", "topics.partitions=2", "--dir", "kept")
    run.until(LISTENING)
    made = sorted(name.rpartition(".")[2] for name in admin.list_topics() if name.startswith("segue-run-"))
    assert made == ["catalog", "dead-letter", "events", "examples", "exposures", "metrics", "model-updates", "popularity"]
    code, out = run.ended(60)
    assert code == 0, run.said
    told = json.loads(out)
    assert told["complete"] and told["lag"] == told["unlearned"] == 0 and told["events"] > 0
    assert [name for name in admin.list_topics() if name.startswith("segue-run-")] == []
    admin.close()
    assert {"segue.toml", "worker.log", "learner.log", "state", "checkpoints"} <= {path.name for path in (run.folder / "kept").iterdir()}
    again = started("--dir", "kept")
    assert again.ended(30)[0] == 2 and "is there already" in again.said


def test_without_an_embedded_broker_the_message_names_the_two_other_ways(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path / 'without'}:{ROOT}", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    (tmp_path / "without" / "jgo").mkdir(parents=True)
    (tmp_path / "without" / "jgo" / "__init__.py").write_text('raise ModuleNotFoundError("No module named jgo")\n')
    done = subprocess.run(
        [sys.executable, "-m", "streams", "run"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert all(way in done.stderr for way in ("pip install 'segue[embedded]'", "--broker HOST:PORT", "docker compose up -d kafka"))


@pytest.mark.prove
def test_a_minute_keeps_what_is_promised(started: Any) -> None:
    """The acceptance line: more than 5,000 events, everything learned, freshness p99 below a second, from the first request on."""
    run = started("--seconds", "60", "--json")
    code, out = run.ended(180)
    assert code == 0, run.said
    told = json.loads(out)
    print(", ".join(f"{name} {told[name]}" for name in (
        "seconds", "start_seconds", "events", "events_per_s", "lists", "pages", "examples", "reversals", "lag", "unlearned",
        "freshness_p50_ms", "freshness_p99_ms", "collect_rate", "dislikes_per_1000_plays",
    )))  # fmt: skip
    for task, m in told["metrics"].items():
        print(f"{task}: AUC {m['auc']:.4f}, NE {m['ne']:.4f}, COPC {m['copc']:.4f}, n {m['n']:.0f}, positives {m['positives']:.0f}")
    assert told["events"] > 5_000 and told["lag"] == 0 and told["unlearned"] == 0
    assert told["freshness_p99_ms"] < 1_000
