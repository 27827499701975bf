"""SIGKILL of worker, learner and broker: the final state is that of the log replayed without a fault."""
from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from online_model import checkpoint
from replay.simulator.open_loop import simulate_log
from replay.simulator.world import WorldSettings
from streams.core.join.settings import PartitionSettings
from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.send import send
from streams.kafka_io.topics import TopicSettings
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import LEARNER, Process, example_records, replayed, saved_digest, stored_digest, taught, unacknowledged, values

pytestmark = pytest.mark.broker

RESTART_S = 5.0  # DESIGN.md section 10: first event after a restart
WHOLE_S = 1_200  # for the long log on a slow machine


def _log(events: int) -> list[bytes]:
    return [row.rstrip(b"\n") for row in simulate_log(WorldSettings(), events, seed=7)]


def _topics(broker: EmbeddedBroker, name: str, log: list[bytes]) -> TopicSettings:
    settings = TopicSettings(bootstrap=broker.bootstrap, prefix=name, partitions=1)
    topics.create(settings)
    asyncio.run(send(settings, [(row, None) for row in log], array_records=50))  # small arrays: many flushes
    return settings


def _worker_settings(settings: TopicSettings, folder: Path) -> WorkerSettings:
    return WorkerSettings(topics=settings, stores=StoreSettings(data_dir=str(folder / "state")))


def _told(first: float, again: list[float]) -> str:
    return f"{first:.2f} s, after kills {', '.join(f'{s:.2f}' for s in again)} s"


def kill_workers(broker: EmbeddedBroker, folder: Path, events: int, kills: int) -> list[float]:
    """Kill a worker that has flushed and holds records that the broker has not acknowledged, again and again; seconds
    from each start after a kill to the first flush."""
    log = _log(events)
    wanted, wanted_examples = replayed(log, PartitionSettings())
    settings = _topics(broker, f"worker-{events}", log)
    config = _worker_settings(settings, folder)
    counted: list[int] = []
    starts: list[float] = []
    clock = random.Random(events)
    tries = 0
    while len(counted) < kills:
        tries += 1
        assert tries <= 10 * kills, f"only {counted} kills found unacknowledged records"
        worker = Process("worker", config, folder, folder / "worker.log")
        worker.wait(lambda said: said["flushes"] >= 1)
        time.sleep(clock.uniform(0, 0.1))
        worker.wait(lambda said: said["unsent"] >= 1 or said["ended"])
        worker.kill()
        left = unacknowledged(config.stores, settings)
        starts.append(worker.worked_after_s)
        if left:
            counted.append(left)
        assert worker.last["torch"] is False  # events are taken in before torch is there
    worker = Process("worker", config, folder, folder / "worker.log")
    worker.wait(lambda said: said["ended"] and said["unsent"] == 0, WHOLE_S)
    assert worker.terminate() == 0
    again = [*starts[1:], worker.worked_after_s]

    print(f"\n{kills} kills with {counted} unacknowledged records; start to first flush {_told(starts[0], again)}")
    assert stored_digest(config.stores, settings) == wanted
    got, dropped = example_records(settings)
    print(f"{len(got):,} example records, {dropped:,} dropped as sent twice")
    assert got == [o.record for o in wanted_examples]
    return again


def kill_broker(own_broker: EmbeddedBroker, folder: Path, events: int) -> None:
    """Kill the broker under a worker that is taking events in; the worker goes on by itself."""
    log = _log(events)
    wanted, wanted_examples = replayed(log, PartitionSettings())
    settings = _topics(own_broker, f"broker-{events}", log)
    config = _worker_settings(settings, folder)
    worker = Process("worker", config, folder, folder / "worker.log")
    worker.wait(lambda said: said["flushes"] >= 1 and said["unsent"] >= 1)
    assert own_broker.pid is not None
    os.kill(own_broker.pid, signal.SIGKILL)
    own_broker.stop()
    left = worker.last["unsent"]
    at = time.monotonic()
    own_broker.start()
    back = time.monotonic() - at
    worker.wait(lambda said: said["ended"] and said["unsent"] == 0, WHOLE_S)
    assert worker.terminate() == 0
    print(f"\nbroker killed with {left} unacknowledged records, back after {back:.1f} s")
    assert left >= 1
    assert stored_digest(config.stores, settings) == wanted
    assert example_records(settings)[0] == [o.record for o in wanted_examples]


def kill_learners(broker: EmbeddedBroker, folder: Path, events: int, kills: int) -> list[float]:
    """Kill a learner that has learned since its newest checkpoint, while a worker holds records not acknowledged;
    seconds from each start after a kill to the first step."""
    log = _log(events)
    _, wanted_examples = replayed(log, PartitionSettings())
    wanted = taught(wanted_examples)
    settings = _topics(broker, f"learner-{events}", log)
    config = LearningSettings(
        topics=settings,
        learner=LEARNER,
        process=LearnerProcessSettings(checkpoint_dir=str(folder / "checkpoints"), checkpoint_every_s=0.5, device="cpu"),
    )
    worker = Process("worker", _worker_settings(settings, folder), folder, folder / "worker.log")
    starts: list[float] = []
    lost: list[int] = []  # steps that the newest checkpoint doesn't have, at a kill that counts
    unsent: list[int] = []
    clock = random.Random(events)
    tries = 0
    while len(lost) < kills:
        tries += 1
        assert tries <= 10 * kills, f"only {lost} kills found something to be learned again"
        learner = Process("learner", config, folder, folder / "learner.log")
        learner.wait(lambda said: said["turns"] >= 1)
        time.sleep(clock.uniform(0, min(1.5, events / 3_000)))
        unsent.append(worker.last.get("unsent", 0))
        learner.kill()
        starts.append(learner.worked_after_s)
        found = checkpoint.load_newest(folder / "checkpoints")
        assert found is not None
        if learner.last["version"] > found.meta["version"]:
            lost.append(learner.last["version"] - found.meta["version"])
    worker.wait(lambda said: said["ended"] and said["unsent"] == 0, WHOLE_S)
    assert worker.terminate() == 0
    end = len(values(settings, topics.names(settings.prefix).examples)) - 1
    learner = Process("learner", config, folder, folder / "learner.log")
    learner.wait(lambda said: said["applied"] == end, WHOLE_S)
    assert learner.terminate() == 0
    again = [*starts[1:], learner.worked_after_s]

    print(f"\n{kills} kills, steps to be learned again {lost}, worker's unacknowledged {unsent}")
    print(f"start to first step {_told(starts[0], again)}; learned {end + 1:,} records of `examples`")
    assert saved_digest(folder / "checkpoints") == wanted
    return again


def test_a_killed_learner_ends_in_the_state_of_an_undisturbed_one(broker: EmbeddedBroker, tmp_path: Path) -> None:
    kill_learners(broker, tmp_path, events=1_500, kills=1)


def test_a_killed_worker_ends_in_the_state_of_an_undisturbed_one(broker: EmbeddedBroker, tmp_path: Path) -> None:
    kill_workers(broker, tmp_path, events=5_000, kills=1)


def test_a_killed_broker_loses_and_doubles_nothing(own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    kill_broker(own_broker, tmp_path, events=5_000)


@pytest.mark.prove
def test_five_kills_of_a_worker_on_the_long_log(broker: EmbeddedBroker, tmp_path: Path) -> None:
    assert max(kill_workers(broker, tmp_path, events=200_000, kills=5)) < RESTART_S


@pytest.mark.prove
def test_five_kills_of_a_learner_on_the_long_log(broker: EmbeddedBroker, tmp_path: Path) -> None:
    assert max(kill_learners(broker, tmp_path, events=200_000, kills=5)) < RESTART_S


@pytest.mark.prove
def test_a_kill_of_the_broker_on_the_long_log(own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    kill_broker(own_broker, tmp_path, events=200_000)
