"""Producers that use transactions: what they aborted was never said, and a log that ends in a marker has ended."""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.core.join.catalog import Catalog
from streams.core.join.items import Item
from streams.core.join.settings import PartitionSettings
from streams.kafka_io import dead_letters, follow
from streams.kafka_io.topics import TopicSettings, names
from streams.status import StatusSettings, WorkerReporter
from streams.worker.catalog_reader import CatalogReader
from streams.worker.process import Worker
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings
from tests.integration.test_worker import _event, _now, _until, running

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]


@asynccontextmanager
async def transactional(topics: TopicSettings, name: str = "a") -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=topics.bootstrap, transactional_id=f"{topics.prefix}-{name}", linger_ms=0)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def transaction(producer: AIOKafkaProducer, topic: str, *values: bytes, commit: bool = True) -> None:
    await producer.begin_transaction()
    for value in values:
        await producer.send(topic, value, key=b"k" if topic.endswith(".catalog") else None, partition=0)
    await producer.flush()
    await (producer.commit_transaction() if commit else producer.abort_transaction())


def settings(topics: TopicSettings, folder: Path, **partition: int) -> WorkerSettings:
    return WorkerSettings(
        topics=topics, stores=StoreSettings(data_dir=str(folder / "state")), partition=PartitionSettings(**partition)
    )  # fmt: skip


def taken(worker: Worker) -> int:
    owned = worker.ingest.owned.get(0)
    return owned.core.progress.counted.get("events", 0) if owned is not None else 0


def lag(worker: Worker) -> int:
    return WorkerReporter(StatusSettings(), None)._status(worker).partitions[0].lag


def acts(n: int, prefix: str) -> list[bytes]:
    return [_event(_now(), item=f"{prefix}{k}", event_id=f"{prefix}{k}") for k in range(n)]


def test_what_a_producer_aborted_is_never_taken_in_live_or_replayed(
    topic_settings: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no look into the log is needed to know that nothing was said in between: the consumer has passed it."""
    topics = topic_settings(1)
    events = names(topics.prefix).events

    looks: list[tuple[int, int]] = []
    assign = AIOKafkaConsumer.assign
    monkeypatch.setattr(AIOKafkaConsumer, "assign", lambda self, at: (looks.extend(p for p in at if p.topic == events), assign(self, at)))

    async def main() -> tuple[int, int]:
        async with transactional(topics) as producer:
            for n in range(10):
                await transaction(producer, events, *acts(20, f"aborted{n}-"), commit=False)
                await transaction(producer, events, *acts(100, f"said{n}-"))
        async with running(Worker(settings(topics, tmp_path))) as worker:
            await _until(lambda: taken(worker) >= 1_000)
            await _until(lambda: lag(worker) == 0)
            return taken(worker), worker.ingest.owned[0].counted["empty_offsets"]

    assert (asyncio.run(main()), looks) == (
        (1_000, 10 * (20 + 1) + 9),
        [],
    )  # what was aborted, with markers; the markers of what was said, but the last
    replayed = [getattr(arrived.record, "item_id", "") for _, arrived in follow.events(topics, 0, None, None)]
    assert [item for item in replayed if item.startswith("aborted")] == []
    assert len([item for item in replayed if item.startswith("said")]) == 1_000


@pytest.mark.parametrize("commit", [True, False])
def test_a_log_that_ends_in_a_marker_has_ended(topic_settings: MakeTopics, tmp_path: Path, commit: bool) -> None:
    """Lag is 0, ticks are written, and a window closes by them; the same after a restart that begins at the marker."""
    topics = topic_settings(1)
    events = names(topics.prefix).events

    async def main() -> list[int]:
        ticks = []
        for n in range(2):
            async with transactional(topics) as producer:
                await transaction(producer, events, _event(_now(), item=f"i{n}", action="impression"))
                if not commit:
                    await transaction(producer, events, *acts(3, f"aborted{n}-"), commit=False)
            async with running(Worker(settings(topics, tmp_path, join_window_ms=1_500))) as worker:
                await _until(lambda n=n: taken(worker) == n + 1)  # type: ignore[misc]
                await _until(lambda: worker.ingest.owned[0].core.progress.open_lists == 0, 8)
                await _until(lambda: lag(worker) == 0, 3)
                ticks.append(worker.ticks.written)
            async with transactional(topics) as producer:  # a marker is what the next worker begins at
                await transaction(producer, events, *acts(1, f"gone{n}-"), commit=False)
        async with running(Worker(settings(topics, tmp_path))) as worker:
            await _until(lambda: 0 in worker.ingest.owned and worker.app.consumer.highwater(worker.ingest.owned[0].tp) is not None)
            await _until(lambda: lag(worker) == 0, 5)
        return ticks

    assert min(asyncio.run(main())) >= 1


def test_while_a_transaction_is_open_there_is_lag_and_no_tick(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    events = names(topics.prefix).events

    async def main() -> tuple[int, int, int]:
        async with transactional(topics) as producer:
            await transaction(producer, events, _event(_now(), action="impression"))
            async with running(Worker(settings(topics, tmp_path))) as worker:
                await _until(lambda: taken(worker) == 1)
                await producer.begin_transaction()
                for value in acts(3, "later"):
                    await producer.send(events, value, partition=0)
                await producer.flush()
                await _until(lambda: lag(worker) > 0)
                before = worker.ticks.written
                await asyncio.sleep(1.5)
                quiet = worker.ticks.written - before
                behind, _ = lag(worker), await producer.commit_transaction()
                await _until(lambda: taken(worker) == 4)
                await _until(lambda: lag(worker) == 0)
                return quiet, behind, taken(worker)

    quiet, behind, events_taken = asyncio.run(main())
    assert (quiet, events_taken) == (0, 4)
    assert behind >= 3


def test_readers_without_a_group_leave_out_what_was_aborted_and_end_at_a_marker(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics, catalog = topic_settings(1), Catalog()
    t = names(topics.prefix)

    async def main() -> None:
        async with transactional(topics) as producer:
            for topic, said, aborted in (
                (t.catalog, msgspec.json.encode(Item(item_id="said")), msgspec.json.encode(Item(item_id="aborted"))),
                (t.metrics, b'"said"', b'"aborted"'),
                (t.dead_letter, b"", b""),
            ):
                if said:
                    await transaction(producer, topic, said)
                await transaction(producer, topic, aborted, commit=False)
        reader = CatalogReader(topics, catalog)
        reading = asyncio.create_task(reader.reader.run())
        await asyncio.wait_for(reader.reader.caught_up.wait(), 10)
        reading.cancel()

    asyncio.run(main())
    assert [known.item.item_id for known in catalog.values()] == ["said"]
    lines: list[str] = []
    assert list(follow.metrics(topics, True, 0.0, lines.append)) == ["said"]
    assert list(dead_letters.read(topics, lines.append)) == lines == []


TRANSACTIONS, REPEATS = 1_000, 3


async def _seconds(worker: Worker, events: int) -> float:
    """From the first record that reaches the worker to the last event in its state."""
    began: list[float] = []
    buffer = worker.ingest.buffer

    def first(event: object) -> None:
        began.append(time.perf_counter())
        worker.ingest.buffer = buffer  # type: ignore[method-assign]
        buffer(event)  # type: ignore[arg-type]

    worker.ingest.buffer = first  # type: ignore[method-assign]
    async with running(worker):
        while taken(worker) < events:
            await asyncio.sleep(0.002)
        return time.perf_counter() - began[0]


@pytest.mark.alone
@pytest.mark.prove
def test_a_thousand_transactions_cost_less_than_twice_one(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """2,000 events in 1,000 transactions against 2,000 in one, each read by a worker from the beginning."""
    several, single = topic_settings(1), topic_settings(1)

    async def write(topics: TopicSettings, transactions: int) -> None:
        async def part(k: int) -> None:
            async with transactional(topics, str(k)) as producer:
                for n in range(k, transactions, 8):
                    await transaction(producer, names(topics.prefix).events, *acts(2_000 // transactions, f"{n}-"))

        await asyncio.gather(*(part(k) for k in range(min(transactions, 8))))

    async def main() -> tuple[float, float]:
        began = time.perf_counter()
        await write(several, TRANSACTIONS)
        print(f"{TRANSACTIONS} transactions written in {time.perf_counter() - began:.1f} s")
        await write(single, 1)
        pairs = [[await _seconds(Worker(settings(t, tmp_path / f"{n}")), 2_000) for t in (several, single)] for n in range(REPEATS)]
        return min(p[0] for p in pairs), min(p[1] for p in pairs)

    many, one = asyncio.run(main())
    print(f"2,000 events in {TRANSACTIONS} transactions {1000 * many:.0f} ms, in one {1000 * one:.0f} ms, ratio {many / one:.2f}")
    assert many < 2 * one
