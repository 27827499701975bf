"""Events a second that a worker takes in, states and examples durable, against what Faust alone does without doing anything."""
from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust

from benchmarks.figure import Figure
from replay.simulator.open_loop import simulate_log
from replay.simulator.world import WorldSettings
from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.send import send
from streams.kafka_io.topics import TopicSettings, names
from streams.worker.process import Worker
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings

EVENTS = 60_000
STOCK = "stock Faust agent that does nothing, one event a record"


def measure() -> Iterator[Figure]:
    """A broker of its own; one worker on one partition, in this process, as is the stock agent."""
    log = [(row.rstrip(b"\n"), None) for row in simulate_log(WorldSettings(), EVENTS, 1)]
    gc.set_threshold(100_000, 20, 100)  # as `segue worker` runs
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker(Path(folder) / "kafka") as broker:
        single = TopicSettings(bootstrap=broker.bootstrap, prefix="single", partitions=1)
        arrays = TopicSettings(bootstrap=broker.bootstrap, prefix="arrays", partitions=1)
        for settings, size in ((single, 1), (arrays, 500)):
            topics.create(settings)
            asyncio.run(send(settings, log, array_records=size))
        stock = asyncio.run(_stock(single, folder))
        yield Figure(
            what="ingest, one event a record", unit="events/s", ours=asyncio.run(_worker(single, f"{folder}/single")),
            baseline=STOCK, theirs=stock, budget=">= 1.3",
        )  # fmt: skip
        yield Figure(
            what="ingest, arrays of up to 500 events", unit="events/s", ours=asyncio.run(_worker(arrays, f"{folder}/arrays")),
            baseline=STOCK, theirs=stock, budget="60,000 events/s",
        )  # fmt: skip


async def _stock(settings: TopicSettings, folder: str) -> float:
    app = faust.App(
        "stock", broker=f"kafka://{settings.bootstrap}", datadir=folder, web_enabled=False, autodiscover=False, logging_config=None,
        topic_disable_leader=True, topic_allow_declare=False, consumer_auto_offset_reset="earliest", worker_redirect_stdouts=False,
    )  # fmt: skip
    topic = app.topic(names(settings.prefix).events, key_serializer="raw", value_serializer="raw")
    began, seen, done = 0.0, 0, asyncio.Event()

    async def nothing(stream: Any) -> None:
        nonlocal began, seen
        async for _ in stream:
            began = began or time.perf_counter()
            seen += 1
            if seen >= EVENTS:
                done.set()

    app.agent(topic)(nothing)
    app.finalize()
    await app.start()
    await done.wait()
    rate = seen / (time.perf_counter() - began)
    await app.stop()
    return rate


async def _worker(settings: TopicSettings, folder: str) -> float:
    worker = Worker(WorkerSettings(topics=settings, stores=StoreSettings(data_dir=folder)))
    await worker.start()
    began = 0.0
    while True:
        await asyncio.sleep(0.01)
        began = began or (time.perf_counter() if worker.ingest.flushes else 0.0)
        owned = worker.ingest.owned.get(0)
        if owned and owned.core.progress.watermark_ms > 0 and not owned.core.progress.in_log and worker.ingest.unsent == 0:
            break
    rate = EVENTS / (time.perf_counter() - began)
    await worker.stop()
    return rate
