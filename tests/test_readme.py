"""The README's commands, run as they stand there: in order, in one folder, with the addresses of this test's own Kafka and service, and
with a log that is shorter than the README's but by `make prove`."""
from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from online_model.features import TASKS
from replay.simulator.open_loop import records as simulated
from replay.simulator.world import SCENES, Session, World, WorldSettings
from streams.cli.main import segue
from streams.core.join.events import Event
from streams.kafka_io.broker import EmbeddedBroker
from tests.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL))
PROGRAM = ".venv/bin/segue"
LIVE, OWN, REPLAY = "From nothing to a live system", "With a Kafka of yours", "Replay a log of yours"
SCENE = SCENES.index("work")
LASTING = ("worker", "learner")  # run until they are stopped
KAFKA, SERVICE = "127.0.0.1:9092", "127.0.0.1:8080"  # as the README has them
EVENTS, FEW = 5_000, 1_200  # of the simulated log: in the README, and enough for all that is said of it but that taste is learned


def commands(section: str) -> list[str]:
    """The lines of its blocks; a block with a language is no command."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    return [line for language, block in blocks if not language for line in block.splitlines()]


def test_live_own_kafka_and_replay_come_in_this_order_and_every_command_is_run_here() -> None:
    assert [s for s in SECTIONS if commands(SECTIONS[s])] == [LIVE, OWN, REPLAY, "Test it"]
    assert commands(SECTIONS[LIVE])[0] == "make run"
    assert all(c.startswith("make ") for s in (LIVE, "Test it") for c in commands(SECTIONS[s]))
    assert sum(f"--events {EVENTS} " in c for c in commands(README)) == 1
    assert all(c.startswith((f"{PROGRAM} ", "curl ", "export ")) for s in (OWN, REPLAY) for c in commands(SECTIONS[s]))


@pytest.mark.parametrize("command", [c for c in commands(README) if c.startswith("make ")])
def test_every_make_command_is_a_target_that_calls_what_there_is(command: str) -> None:
    """`segue run` itself is run by tests/integration/test_run.py, `make test` by whoever reads this."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}  # `make test` runs this
    planned = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, env=bare, capture_output=True, text=True, check=True).stdout
    if command.startswith("make run"):
        called = shlex.split(planned.splitlines()[-1])
        assert called[:3] == ["exec", PROGRAM, "run"]
        context = segue.commands["run"].make_context("run", called[3:], parent=segue.make_context("segue", ["run"]))
        assert context.params["as_json"] is ("--json" in command)


class Shell:
    """Runs commands of the README in a folder, in a shell that keeps what was exported."""

    def __init__(self, folder: Path, kafka: str, service: str, environment: dict[str, str]) -> None:
        self.events = FEW
        self.folder, self.kafka, self.service, self.lasting = folder, kafka, service, list[subprocess.Popen[bytes]]()
        self.exporter = f"127.0.0.1:{environment['SEGUE_EXPORTER__PORT']}"
        self._environment = os.environ | environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        (folder / ".venv/bin").mkdir(parents=True)
        program = folder / PROGRAM
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m streams "$@"\n', encoding="utf-8")
        program.chmod(0o755)

    def run(self, command: str) -> str:
        """What it printed. It must end well; one that lasts is left running."""
        line = command.replace(KAFKA, self.kafka).replace(SERVICE, self.service).replace(f"--events {EVENTS} ", f"--events {self.events} ")
        if line.startswith("export "):
            name, _, value = line.removeprefix("export ").partition("=")
            self._environment[name] = value
            return ""
        if line.split()[1] in LASTING:
            with (self.folder / f"{line.split()[1]}.log").open("wb") as log:
                self.lasting.append(subprocess.Popen(shlex.split(line), cwd=self.folder, env=self._environment, stdout=log, stderr=log))
            return ""
        done = subprocess.run(["sh", "-c", line], cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> list[int]:
        """Exit codes of what lasted."""
        for process in self.lasting:
            process.send_signal(signal.SIGINT)
        return [process.wait(20) for process in self.lasting]


@pytest.fixture
def shell(tmp_path: Path, broker: EmbeddedBroker) -> Iterator[Shell]:
    with socket.socket() as one, socket.socket() as other:
        for s in (one, other):
            s.bind(("127.0.0.1", 0))
        service, exporter = one.getsockname()[1], other.getsockname()[1]
    own = {"SEGUE_SERVICE__PORT": str(service), "SEGUE_EXPORTER__PORT": str(exporter), "SEGUE_TOPICS__PREFIX": f"readme{os.getpid()}"}
    made = Shell(tmp_path, broker.bootstrap, f"127.0.0.1:{service}", own)
    yield made
    for process in made.lasting:
        process.kill()
        process.wait()


def has_model(service: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{service}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
            return (json.loads(answer.read())["model_version"] or 0) > 0  # it has learned something
    except (urllib.error.URLError, OSError):
        return False


def figures(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:  # noqa: S310 - our own address
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def wait_until_learned(shell: Shell) -> None:
    """Until every example that the worker wrote is in the model that serves."""
    deadline = time.monotonic() + 300
    while True:
        learner, worker = figures(shell.exporter), figures(shell.service)
        if not learner["segue_learner_lag_records"] and worker["segue_model_version"] == learner["segue_learner_version"]:
            return
        assert time.monotonic() < deadline, learner
        time.sleep(0.5)


def songs(shell: Shell, user: str, strategy: str) -> list[str]:
    """A list of ten songs for the user, of which nothing is remembered."""
    request = {"user_id": user, "k": 10, "domain": "song", "strategy": strategy, "dry_run": True, "context": {"scene": SCENES[SCENE]}}
    with urllib.request.urlopen(f"http://{shell.service}/v1/recommendations", json.dumps(request).encode(), timeout=10) as answer:  # noqa: S310
        served = json.loads(answer.read())
    assert not {"cold", "short", "stale_rows"} & {*served["flags"]}
    return [item["item_id"] for item in served["items"]]


def heaviest(records: list[dict[str, Any]], n: int) -> list[str]:
    """Users with the most plays."""
    return [user for user, _ in Counter(r["user_id"] for r in records if r.get("action") == "play").most_common(n)]


@pytest.mark.broker
def test_a_kafka_of_ones_own_from_topics_to_metrics_and_a_replay_after_it(shell: Shell, tmp_path: Path) -> None:
    assert shutil.which("curl"), "the README's commands need curl"
    (tmp_path / "plays.csv").write_text("listener,track,at\na,x,2024-01-01T00:00:00Z\nb,y,2024-01-01T00:01:00Z\n")
    printed = {}
    for command in commands(SECTIONS[OWN]):
        if command.startswith("curl"):
            deadline = time.monotonic() + 60
            while not has_model(shell.service):
                assert time.monotonic() < deadline, (tmp_path / "worker.log").read_text()
                time.sleep(0.1)
        printed[command.split(" -d ")[0].removeprefix(f"{PROGRAM} ")] = shell.run(command)
    assert printed["topics --create"].count("made") == 8
    assert printed["send events.jsonl --format jsonl --items items.jsonl"].startswith("1,200 rows and 400 items")
    assert json.loads(printed[f"curl -sS {SERVICE}/v1/events"])["accepted"] == 1
    assert len(json.loads(printed[f"curl -sS {SERVICE}/v1/recommendations"])["items"]) == 5
    assert len(printed["recommend u00007 --k 5"].splitlines()) == 5
    page = printed["page u00007 --modules 3 --per-module 4"].splitlines()
    assert sum(" category:" in line or " popular" in line for line in page) >= 3 and sum(line.startswith("* ") for line in page) == 1
    reasons = printed["recommend u00007 --k 5 --weight skip=-2 --gamma-item 1 --why"].splitlines()
    assert sum("skip -2 x " in line for line in reasons) == 5
    assert re.search(r"worker \S+  lag \d", printed["metrics --seconds 6 --window 1h"]) and printed["dead-letters"] == ""
    assert "segue_freshness_seconds" in printed[f"curl -sS {SERVICE}/metrics"]
    records = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    lists = {tuple(songs(shell, user, "ranked")) for user in heaviest(records, 8)}
    assert len(lists) == 8 and all(len(each) == 10 for each in lists)
    assert shell.stop() == [0, 0]
    told = [shell.run(command) for command in commands(SECTIONS[REPLAY])]
    assert told[0].startswith("2 records, 2 good\n") and (tmp_path / "report/index.html").is_file()
    assert all(task in told[-1] for task in TASKS) and "–" not in told[-1]  # every figure of the simulated log is there


@pytest.mark.prove
@pytest.mark.broker
def test_after_the_readme_each_listener_gets_songs_nearer_to_their_hidden_taste_than_the_popular_ones(shell: Shell, tmp_path: Path) -> None:
    """By the simulator's own truth: what a listener feels about each of the ten songs, without what happened since."""
    shell.events = EVENTS
    for command in commands(SECTIONS[OWN]):
        if command.startswith("curl"):
            break
        shell.run(command)
    wait_until_learned(shell)
    records = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    simulated_until = max(record.ts for record in simulated(World(WorldSettings(), 1), len(records), 1))
    world = World(WorldSettings(start_ms=WorldSettings().start_ms + records[-1]["ts"] - simulated_until), 1)
    for record in records:
        if "action" in record:
            world.observe(msgspec.convert(record, Event))
    now, users = records[-1]["ts"], heaviest(records, 60)
    lists = {strategy: [songs(shell, user, strategy) for user in users] for strategy in ("ranked", "popular")}

    def felt(user: str, items: list[str]) -> float:
        session = Session(0, now, world.listener[user], 0, SCENE, 0.0, np.empty(0), {})
        return float(world.utility(session, np.array([world.index[item] for item in items]), now).mean())

    gains = np.array([felt(u, a) - felt(u, b) for u, a, b in zip(users, lists["ranked"], lists["popular"], strict=True)])
    shared = np.mean([len({*a} & {*b}) for n, a in enumerate(lists["ranked"]) for b in lists["ranked"][:n]])
    error = gains.std(ddof=1) / len(gains) ** 0.5
    print(f"nearer to taste than popular songs by {gains.mean():.3f} ± {error:.3f} logits, for {(gains > 0).mean():.0%} of {len(users)}")
    print(f"lists of two users share {shared:.1f} of 10 songs")
    assert len({*map(tuple, lists["ranked"])}) == len(users) and gains.mean() > 3 * error
