"""A log into `events`, with a scripted producer: what is sent in which order, and what goes alone."""
from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from streams.core.join.items import Item
from streams.core.join.records import ARRIVAL, pack_arrivals
from streams.kafka_io import send as sending
from streams.kafka_io.topics import TopicSettings, partitioner

TOPICS = TopicSettings(prefix="x", partitions=2)
SENT: list[tuple[str, int, bytes, bytes | None, Any]] = []


class ScriptedProducer:
    """Keeps what it is given, and has it at once."""

    def __init__(self, **options: Any) -> None:
        SENT.clear()

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def send(self, topic: str, value: bytes, key: bytes | None, partition: int, headers: Any) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(SimpleNamespace(topic=topic, partition=partition, offset=sum(one[:2] == (topic, partition) for one in SENT)))
        SENT.append((topic, partition, value, key, headers))
        return done


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "AIOKafkaProducer", ScriptedProducer)


def row(user: str, n: int) -> bytes:
    return json.dumps({"ts": n, "user_id": user, "item_id": "i", "action": "play"}).encode()


def test_items_then_the_beginning_then_each_partitions_rows_in_order_then_the_closing_tick() -> None:
    rows = [(row(f"u{n % 5}", n), None) for n in range(40)]
    done = asyncio.run(sending.send(TOPICS, rows, [Item(item_id="i")], array_records=7))
    assert (done.items, done.rows, done.events, done.records) == (1, 40, 40, len(SENT))
    assert done.bytes == sum(len(value) for _, _, value, _, _ in SENT)
    assert (SENT[0][0], SENT[0][3]) == ("x.catalog", b"i")
    for partition in range(2):
        values = [json.loads(value) for topic, p, value, _, _ in SENT if (topic, p) == ("x.events", partition)]
        assert (values[0]["kind"], values[-1]["kind"], values[-1]["last"]) == ("log-begin", "tick", True)
        events = [event for value in values[1:-1] for event in (value if isinstance(value, list) else [value])]
        wanted = [json.loads(raw) for raw, _ in rows if partitioner("murmur2")(json.loads(raw)["user_id"].encode(), 2) == partition]
        assert events == wanted
        assert all(len(value) <= 7 for value in values if isinstance(value, list))


def test_what_is_not_one_valid_record_goes_alone_and_keeps_its_place() -> None:
    topics = TopicSettings(prefix="x", partitions=1)
    rows = [(row("u", 1), 11), (row("u", 2), 12), (b'{"ts":', 13), (row("u", 3), None)]
    asyncio.run(sending.send(topics, rows))
    events = [(value, headers) for topic, _, value, _, headers in SENT if topic == "x.events"][1:-1]
    assert [value for value, _ in events] == [b"[" + rows[0][0] + b"," + rows[1][0] + b"]", rows[2][0], rows[3][0]]
    assert [headers for _, headers in events] == [[(ARRIVAL, pack_arrivals(at))] for at in ([11, 12], [13], [None])]


def test_every_record_of_events_is_told_by_its_place_and_every_event_of_a_row_is_counted() -> None:
    places: list[tuple[int, int]] = []
    rows = [(row("u", 1), None), (b"[" + row("u", 2) + b"," + row("u", 3) + b"]", None), (b"{", None), (b"", None)]
    sent = asyncio.run(sending.send(TOPICS, rows, [Item(item_id="i")], written=lambda *place: places.append(place)))
    assert (sent.rows, sent.events) == (4, 5)
    per_partition = [sum(topic == "x.events" and p == partition for topic, p, *_ in SENT) for partition in range(2)]
    assert sorted(places) == [(p, offset) for p in range(2) for offset in range(per_partition[p])]


def test_progress_ends_at_the_number_of_rows() -> None:
    seen: list[int] = []
    asyncio.run(sending.send(TOPICS, [(row("u", n), None) for n in range(3)], progress=seen.append))
    assert seen == [3]
