"""A broker that stands still for a while and comes back: workers survive, go on, and lose and double nothing.

Meanwhile lag is unknown, and health says that Kafka is silent.
"""
from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from online_model.features import Example
from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import FaustSettings, TopicSettings
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import Process, example_records

pytestmark = pytest.mark.broker

PARTITIONS = 4
PAUSES_S = (5, 5, 7, 8, 10, 11, 12, 14, 15, 18, 20, 25, 30, 30, 30, 35, 45, 60, 90, 120)
CAUGHT_UP_S = 120.0  # after a pause, until all that was sent is in the states


class Feed:
    """Sends plays without end, each once, and knows where the log of each partition ends."""

    def __init__(self, settings: TopicSettings, every_s: float) -> None:
        self.ends = dict.fromkeys(range(PARTITIONS), -1)
        self.sent = 0
        self._settings, self._every_s = settings, every_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()

    async def _run(self) -> None:
        delivery = Delivery(self._settings)
        await delivery.start()
        while not self._stopped.is_set():
            n = self.sent
            event = {"ts": int(time.time() * 1000), "user_id": f"u{n % 97}", "item_id": f"i{n}", "action": "play", "event_id": f"e{n}"}
            user = f"u{n % 97}".encode()
            offset = await delivery.append(Out("events", -1, user, msgspec.json.encode(event)))
            self.ends[delivery.partition(user)] = offset
            self.sent += 1
            await asyncio.sleep(self._every_s)
        await delivery.stop()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the feed could not end"


@contextlib.contextmanager
def feeding(settings: TopicSettings, every_s: float) -> Iterator[Feed]:
    feed = Feed(settings, every_s)
    try:
        yield feed
    finally:
        feed.stop()


@contextlib.contextmanager
def paused(broker: EmbeddedBroker) -> Iterator[None]:
    """Its process stands still: connections stay, nothing answers."""
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


class Workers:
    """Worker a, which must survive all, and b, which comes and goes."""

    def __init__(self, settings: TopicSettings, folder: Path, session_s: float) -> None:
        self._topics, self._folder, self._session_s = settings, folder, session_s
        self.a = self._start("a")
        self.b: Process | None = None

    def _start(self, slot: str) -> Process:
        config = WorkerSettings(
            topics=self._topics, stores=StoreSettings(data_dir=str(self._folder / "state")),
            faust=FaustSettings(slot=slot, session_timeout_s=self._session_s),
        )  # fmt: skip
        folder = self._folder / slot
        folder.mkdir(exist_ok=True)
        return Process("worker", config, folder, folder / "worker.log")

    def switch_b(self, kill: bool = False) -> None:
        """Start b, until it has found its broker and is about to join; or end it."""
        if self.b is None:
            self.b = self._start("b")
            self.b.wait(lambda said: True)
        elif kill:
            self.b.kill()
            self.b = None
        else:
            assert self.b.terminate() == 0
            self.b = None

    def caught_up(self, ends: dict[int, int]) -> None:
        """Wait until the states hold all up to these offsets."""
        deadline = time.monotonic() + CAUGHT_UP_S
        while True:
            running = [w for w in (self.a, self.b) if w is not None]
            for worker in running:
                assert worker.poll() is None, f"a worker ended with {worker.poll()}; it had said {worker.last}"
            stored = {int(p): at for w in running for p, at in w.last.get("stored", {}).items()}
            if all(stored.get(p, -1) >= end for p, end in ends.items()):
                return
            if time.monotonic() > deadline:
                stacks = "\n".join(worker.stacks() for worker in running)
                raise AssertionError(f"in the states: {stored}, in the log: {ends}\n{stacks}")
            time.sleep(0.05)

    def stop(self) -> None:
        for worker in (self.a, self.b):
            if worker is not None:
                worker.clear()


def pause_again_and_again(broker: EmbeddedBroker, folder: Path, pauses_s: tuple[float, ...], session_s: float) -> int:
    """Pause the broker, with rebalances before, within and after; how many pauses the workers survived."""
    settings = TopicSettings(bootstrap=broker.bootstrap, prefix=f"pauses-{len(pauses_s)}", partitions=PARTITIONS)
    topics.create(settings)
    workers, clock = Workers(settings, folder, session_s), random.Random(len(pauses_s))
    survived = 0
    try:
        with feeding(settings, every_s=0.01) as feed:
            workers.a.wait(lambda said: said["flushes"] >= 1)
            for n, seconds in enumerate(pauses_s):
                if n % 2 == 0:
                    workers.switch_b()  # so that it joins, or leaves, about when the pause begins
                    time.sleep(clock.uniform(0, 3))
                with paused(broker):
                    time.sleep(seconds / 2)
                    if n % 4 == 3 and workers.b is not None:
                        workers.switch_b(kill=True)
                    time.sleep(seconds / 2)
                    workers.a.wait(lambda said: said["silent"] and not any(lag is not None for lag in said["lag"].values()), 10)
                at = time.monotonic()
                if n % 4 == 1:
                    workers.switch_b()
                workers.caught_up(dict(feed.ends))
                workers.a.wait(lambda said: not said["silent"] and all(lag is not None for lag in said["lag"].values()))
                survived += 1
                print(f"paused for {seconds} s, caught up {time.monotonic() - at:.1f} s later", flush=True)
        workers.caught_up(feed.ends)
        workers.a.wait(lambda said: said["unsent"] == 0)
    finally:
        workers.stop()
    records, dropped = example_records(settings)
    examples = sum(isinstance(record, Example) for record in records)
    print(f"{feed.sent:,} events sent, {examples:,} examples, {dropped:,} records dropped as sent twice")
    assert examples == feed.sent
    return survived


def test_workers_survive_a_pause_of_their_broker_with_a_rebalance(own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Longer than a session, so that the broker drops them from the group."""
    assert pause_again_and_again(own_broker, tmp_path, (6.5,), session_s=6.0) == 1


@pytest.mark.prove
def test_workers_survive_20_of_20_pauses_of_5_to_120_s(own_broker: EmbeddedBroker, tmp_path: Path) -> None:
    survived = pause_again_and_again(own_broker, tmp_path, PAUSES_S, session_s=10.0)
    print(f"survived {survived} of {len(PAUSES_S)} pauses")
    assert survived == len(PAUSES_S)
