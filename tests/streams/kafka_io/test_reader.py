"""A reader without a group, with a scripted consumer: where it begins, when it has caught up, what an error does."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from streams.kafka_io import reader
from streams.kafka_io.reader import Reader

FIRST, END = {0: 5, 1: 0}, {0: 8, 1: 4}


class ScriptedConsumer:
    """Two partitions; one record a partition and call."""

    def __init__(self, **options: Any) -> None:
        assert options["group_id"] is None
        self.at: dict[TopicPartition, int] = {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    async def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: FIRST[at.partition] for at in partitions}

    async def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {at: END[at.partition] for at in partitions}

    def seek(self, at: TopicPartition, offset: int) -> None:
        self.at[at] = offset

    async def position(self, at: TopicPartition) -> int:
        return self.at[at]

    async def getmany(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        due = [at for at in self.at if self.at[at] < END[at.partition]]
        out = {at: [SimpleNamespace(partition=at.partition, offset=self.at[at])] for at in due}
        for at in due:
            self.at[at] += 1
        return out


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "AIOKafkaConsumer", ScriptedConsumer)


def test_reading_begins_at_the_given_offsets_or_the_first_that_is_left_and_tells_when_it_has_caught_up() -> None:
    read: list[tuple[int, int]] = []

    async def main() -> None:
        async def handle(records: list[Any]) -> None:
            assert not made.caught_up.is_set()
            read.extend((r.partition, r.offset) for r in records)

        made = Reader("b", "t", 2, handle, {0: 2, 1: 1})  # 2 to 4 of partition 0 are gone
        running = asyncio.create_task(made.run())
        await asyncio.wait_for(made.caught_up.wait(), 10)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        assert made.ends == END

    asyncio.run(main())
    assert sorted(read) == [(0, 5), (0, 6), (0, 7), (1, 1), (1, 2), (1, 3)]


def test_a_reader_that_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []
    monkeypatch.setattr(reader, "end", lambda why, error: ended.append(f"{why}: {error}"))

    async def handle(records: list[Any]) -> None:
        raise KeyError("of the handler")

    asyncio.run(Reader("b", "t", 2, handle).run())
    assert ended == ["reading t failed: 'of the handler'"]
