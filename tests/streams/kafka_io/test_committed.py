"""The thread that fetches for Faust: isolation, and what it tells of offsets without a record."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from faust.types import TP

from streams.kafka_io.committed import CommittedThread
from streams.kafka_io.gaps import EmptyOffsets

AT = TP("t.events", 0)


def made() -> CommittedThread:
    thread = CommittedThread.__new__(CommittedThread)  # without a consumer of Faust's behind it
    thread.empty = EmptyOffsets()
    return thread


def test_the_consumer_it_makes_reads_what_was_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConsumerThread, "_create_worker_consumer", lambda self, transport: SimpleNamespace(_isolation_level="?"))
    assert made()._create_worker_consumer(None)._isolation_level == "read_committed"


def test_what_it_passes_without_a_record_is_told_and_moves_the_end_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: dict[TP, list[Any]] = {AT: [SimpleNamespace(offset=4)]}

    async def fetch(self: Any, consumer: Any, *arguments: Any, **options: Any) -> dict[TP, list[Any]]:
        return fetched

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(AIOKafkaConsumerThread, "highwater", lambda self, tp: end)
    assignment = SimpleNamespace(all_consumed_offsets=lambda: {AT: SimpleNamespace(offset=6)})
    consumer = SimpleNamespace(_subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=assignment)))
    thread, end = made(), 6
    thread.empty.begin([(AT, 2)])
    assert asyncio.run(thread._fetch_records(consumer, None)) is fetched
    assert thread.empty.covers(AT, 2, 4)
    assert thread.highwater(AT) == 5
    end = 7  # of a transaction that is open
    assert thread.highwater(AT) == 7


def test_a_consumer_without_an_assignment_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(self: Any, consumer: Any) -> dict[TP, list[Any]]:
        return {}

    monkeypatch.setattr(AIOKafkaConsumerThread, "_fetch_records", fetch)
    monkeypatch.setattr(AIOKafkaConsumerThread, "highwater", lambda self, tp: None)
    thread = made()
    for subscription in (None, SimpleNamespace(assignment=None)):
        assert asyncio.run(thread._fetch_records(SimpleNamespace(_subscription=SimpleNamespace(subscription=subscription)))) == {}
    assert thread.highwater(AT) is None
