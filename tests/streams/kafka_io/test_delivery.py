"""A producer for outbox rows, with a scripted producer: topics, partitions, tombstones, and when it is done."""
from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.errors import KafkaTimeoutError, RequestTimedOutError, UnknownTopicOrPartitionError

from streams.kafka_io.delivery import Delivery, PatientProducer
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import TopicSettings, partitioner

TOPICS = TopicSettings(prefix="x", partitions=4)


class ScriptedProducer:
    """In the place of aiokafka's: keeps what it is given; the test acknowledges."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int, bytes | None, bytes | None]] = []
        self.acks: list[asyncio.Future[Any]] = []

    async def send(self, topic: str, value: bytes | None, key: bytes | None, partition: int, headers: object) -> asyncio.Future[Any]:
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


def test_what_a_silent_broker_does_not_take_in_time_is_waited_for_and_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka appends nothing then."""
    tries = [KafkaTimeoutError(), UnknownTopicOrPartitionError(), None]

    async def send(self: Any, topic: str, value: bytes, **options: Any) -> str:
        if error := tries.pop(0):
            raise error
        return f"{topic} {value!r} {options}"

    monkeypatch.setattr(AIOKafkaProducer, "send", send)
    sent: Any = asyncio.run(object.__new__(PatientProducer).send("t", b"v", b"k", 2, []))
    assert (sent, tries) == ("t b'v' {'key': b'k', 'partition': 2, 'headers': []}", [])


def test_a_batch_never_grows_too_old_to_be_sent() -> None:
    async def main() -> bool:
        producer = PatientProducer(bootstrap_servers="127.0.0.1:1", enable_idempotence=True)
        accumulator = producer._message_accumulator
        batch = accumulator._append_batch(accumulator.create_builder(), TopicPartition("t", 0))
        batch._ctime -= 1e9
        expired: bool = batch.expired()
        producer._closed = True
        return expired

    assert asyncio.run(main()) is False


def test_a_request_that_times_out_on_a_connection_that_is_dropped_already_has_timed_out() -> None:
    """Two requests wait on one connection; between the two timeouts it is dropped."""

    async def main() -> None:
        client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")

        async def ready(node_id: int, *, group: Any) -> bool:
            return True

        async def times_out() -> None:
            client._conns.clear()
            raise TimeoutError

        client.ready = ready
        client._conns[0, ConnectionGroup.DEFAULT] = SimpleNamespace(send=lambda request, expect_response: times_out())
        with pytest.raises(RequestTimedOutError):
            await client.send(0, "request")

    asyncio.run(main())


def test_before_its_start_nothing_is_sent() -> None:
    with pytest.raises(ValueError, match="not started"):
        asyncio.run(Delivery(TOPICS).send([Out("examples", 0, None, b"a")]))
