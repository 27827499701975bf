"""How long a list of 200 given candidates takes over HTTP, alone and while events come in at half of what the worker takes."""
from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from aiokafka import AIOKafkaProducer

from benchmarks.figure import Figure
from streams.core.join.items import Item
from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.send import send_items
from streams.kafka_io.topics import TopicSettings, names

ITEMS, USERS, CANDIDATES, ASKED = 2_000, 500, 200, 400
ARRAY = 100  # events of one Kafka record: what a service that collects for some milliseconds sends
BURST = 40_000  # events, for the worker's capacity
PORT = 18_080
ROOT = Path(__file__).resolve().parent.parent


def measure() -> Iterator[Figure]:
    """A broker, a worker and a learner of their own, as processes; the client is this one."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "kafka") as broker:
        settings = TopicSettings(bootstrap=broker.bootstrap, prefix="serving", partitions=1)
        topics.create(settings)
        catalog = [Item(item_id=f"i{n}", domain="song", artist_id=f"a{n % 200}", categories=(f"c{n % 20}",)) for n in range(ITEMS)]
        asyncio.run(send_items(settings, catalog))
        chosen = [f"topics.prefix={settings.prefix}", "topics.partitions=1", f"stores.data_dir={folder}/state", f"service.port={PORT}",
                  f"replica.checkpoint_dir={folder}/model", f"learner_process.checkpoint_dir={folder}/model", "exporter.port=0",
                  "recommend.no_repeat_window_ms=0"]  # fmt: skip
        flags = [word for one in chosen for word in ("--set", one)]
        command = [sys.executable, "-m", "streams"]
        learner, worker = (
            subprocess.Popen([*command, verb, "--broker", broker.bootstrap, *flags], cwd=ROOT, stderr=subprocess.DEVNULL)
            for verb in ("learner", "worker")
        )
        try:
            _wait(lambda: _figure("segue_model_version") >= 0)
            asyncio.run(_send(settings, 20, 500.0))
            _wait(lambda: _figure("segue_model_version") > 0 and _figure('segue_lag_records{partition="0"}') == 0)
            learner.terminate()  # elsewhere, in earnest: here it would take a core from the worker
            learner.wait(20)
            _ask(50)
            alone = _ask(ASKED)
            began = time.perf_counter()
            before = _events()
            asyncio.run(_send(settings, BURST // ARRAY, 1e9))
            _wait(lambda: _events() >= before + BURST)
            capacity = BURST / (time.perf_counter() - began)
            stop = threading.Event()
            feeding = threading.Thread(target=lambda: asyncio.run(_send(settings, 10**9, capacity / 2, stop)))
            feeding.start()
            try:
                time.sleep(2)
                at, before = time.perf_counter(), _events()
                beside = _ask(ASKED)
                rate = (_events() - before) / (time.perf_counter() - at)
            finally:
                stop.set()
                feeding.join()
        finally:
            for process in (learner, worker):
                process.terminate()
                process.wait(20)
    sys.stderr.write(f"capacity {capacity:,.0f} events/s in arrays of {ARRAY}; {rate:,.0f} events/s beside the lists\n")
    for share, budget in ((50, "< 10 ms"), (99, "< 25 ms")):
        place = ASKED * share // 100
        yield Figure(
            what=f"{CANDIDATES} candidates over HTTP at half of ingest capacity, p{share}", unit="ms", ours=beside[place],
            baseline="the same, no events coming in", theirs=alone[place], budget=budget,
        )  # fmt: skip


def _ask(n: int) -> list[float]:
    """Milliseconds of so many lists, one after another, rising."""
    rng = random.Random(1)
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    out = []
    for _ in range(n):
        candidates = [f"i{k}" for k in rng.sample(range(ITEMS), CANDIDATES)]
        body = json.dumps({"user_id": f"u{rng.randrange(USERS)}", "k": 10, "candidates": candidates, "context": {"device": "phone"}})
        began = time.perf_counter()
        connection.request("POST", "/v1/recommendations", body)
        response = connection.getresponse()
        text = response.read()
        out.append((time.perf_counter() - began) * 1000)
        if response.status != 200:
            raise RuntimeError(text.decode())
        time.sleep(0.01)
    connection.close()
    return sorted(out)


async def _send(settings: TopicSettings, arrays: int, rate: float, stop: threading.Event | None = None) -> None:
    rng = random.Random(2)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap, linger_ms=1)
    await producer.start()
    began, sent = time.perf_counter(), []
    for n in itertools.count():
        if n == arrays or (stop is not None and stop.is_set()):
            break
        now = time.time_ns() // 1_000_000
        events = [
            {"ts": now, "user_id": f"u{rng.randrange(USERS)}", "item_id": f"i{int(ITEMS * rng.random() ** 3)}", "domain": "song",
             "action": "play", "played_ms": rng.randrange(200_000), "duration_ms": 200_000, "context": {"device": "phone"}}
            for _ in range(ARRAY)
        ]  # fmt: skip
        sent.append(await producer.send(names(settings.prefix).events, json.dumps(events).encode(), partition=0))
        await asyncio.sleep(max(0.0, began + (n + 1) * ARRAY / rate - time.perf_counter()))
    await producer.stop()


def _figure(name: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    except OSError:
        return -1.0
    finally:
        connection.close()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} ")), -1.0)


def _events() -> float:
    return _figure('segue_records_total{partition="0",what="events"}')


def _wait(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("waited for 120 s")
        time.sleep(0.05)
