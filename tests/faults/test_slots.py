"""Two workers where one was meant: the second one is told by whom it is refused, or who it fenced, and not a file is touched."""
from __future__ import annotations

import time
from pathlib import Path

import pytest

from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.topics import FaustSettings, TopicSettings
from streams.watchdog import OPERATOR
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import Process

pytestmark = pytest.mark.broker


def _settings(broker: EmbeddedBroker, prefix: str) -> TopicSettings:
    settings = TopicSettings(bootstrap=broker.bootstrap, prefix=prefix, partitions=1)
    topics.create(settings)
    return settings


def _worker(settings: TopicSettings, data: Path, folder: Path, slot: str = "") -> Process:
    folder.mkdir(exist_ok=True)
    config = WorkerSettings(topics=settings, stores=StoreSettings(data_dir=str(data)), faust=FaustSettings(slot=slot))
    return Process("worker", config, folder, folder / "log")


def _one_owner(*workers: Process) -> None:
    """Wait until one of them has the partition: which one, the group says."""
    deadline = time.monotonic() + 60
    while [len(worker.last["stored"]) for worker in workers] not in ([1, 0], [0, 1]):
        assert [worker.poll() for worker in workers] == [None] * len(workers)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_two_workers_in_one_folder_the_second_is_refused_by_one_line_and_by_another_slot_it_stands_by(
    broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings, data = _settings(broker, "one-folder"), tmp_path / "state"
    first = _worker(settings, data, tmp_path / "first")
    first.wait(lambda said: said["stored"])
    running = [first]
    try:
        assert _worker(settings, data, tmp_path / "second").ended() != 0
        last = (tmp_path / "second" / "log").read_text().strip().splitlines()[-1]
        assert f"is a worker in {data} already" in last and "--set faust.slot=1" in last
        standby = _worker(settings, data, tmp_path / "standby", slot="1")
        running.append(standby)
        standby.wait(lambda said: True)
        _one_owner(first, standby)
        first.kill()
        standby.wait(lambda said: said["stored"], 60)
        assert standby.terminate() == 0
    finally:
        for worker in running:
            worker.clear()


def test_a_worker_whose_slot_another_takes_ends_and_says_who_took_it(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Of other folders, or hosts: there is no file that both see. The one that came later goes on; they don't evict each other."""
    settings = _settings(broker, "one-slot")
    first = _worker(settings, tmp_path / "a", tmp_path / "first", slot="same")
    first.wait(lambda said: said["stored"])
    second = _worker(settings, tmp_path / "b", tmp_path / "second", slot="same")
    try:
        assert first.ended() == OPERATOR
        said = (tmp_path / "first" / "log").read_text()
        assert f":{second.pid}:" in said and "which is this process's" in said and "faust.slot" in said
        second.wait(lambda said: said["stored"])
        time.sleep(2)
        assert second.poll() is None
    finally:
        first.clear()
        second.clear()
