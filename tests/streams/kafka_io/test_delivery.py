"""A producer for outbox rows, with a scripted producer: topics, partitions, tombstones, and when it is done."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import TopicSettings, partitioner

TOPICS = TopicSettings(prefix="x", partitions=4)


class ScriptedProducer:
    """In the place of aiokafka's: keeps what it is given; the test acknowledges."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes | None, bytes | None]] = []
        self.acks: list[asyncio.Future[Any]] = []

    async def send(self, topic: str, value: bytes | None, key: bytes | None, partition: int) -> asyncio.Future[Any]:
        self.sent.append((topic, partition, key, value))
        self.acks.append(asyncio.get_running_loop().create_future())
        return self.acks[-1]


def delivery() -> tuple[Delivery, ScriptedProducer]:
    made, producer = Delivery(TOPICS), ScriptedProducer()
    made._producer = producer  # type: ignore[assignment]
    return made, producer


def test_rows_leave_in_order_into_the_partition_of_their_number_or_key() -> None:
    made, producer = delivery()
    rows = [Out("examples", 0, None, b"a"), Out("exposures", -1, b"u", b"b"), Out("catalog", -1, b"i", b""), Out("metrics", -1, b"w", b"c")]
    asyncio.run(made.start_sending(rows))
    user = partitioner("murmur2")(b"u", 4)
    assert producer.sent == [
        ("x.examples", 0, None, b"a"), ("x.exposures", user, b"u", b"b"), ("x.catalog", 0, b"i", None), ("x.metrics", 0, b"w", b"c"),
    ]  # fmt: skip
    assert made.partition(b"u") == user


def test_sending_is_done_when_the_broker_has_all_and_fails_with_what_it_refused() -> None:
    async def main() -> tuple[bool, int]:
        made, producer = delivery()
        sending = asyncio.create_task(made.send([Out("examples", 0, None, b"a"), Out("examples", 0, None, b"b")]))
        await asyncio.sleep(0)
        producer.acks[0].set_result(None)
        await asyncio.sleep(0)
        early = sending.done()
        producer.acks[1].set_exception(OSError("refused"))
        with pytest.raises(OSError, match="refused"):
            await sending
        appending = asyncio.create_task(made.append(Out("examples", 0, None, b"c")))
        await asyncio.sleep(0)
        producer.acks[2].set_result(SimpleNamespace(offset=41))
        return early, await appending

    assert asyncio.run(main()) == (False, 41)


def test_before_its_start_nothing_is_sent() -> None:
    with pytest.raises(ValueError, match="not started"):
        asyncio.run(Delivery(TOPICS).send([Out("examples", 0, None, b"a")]))
