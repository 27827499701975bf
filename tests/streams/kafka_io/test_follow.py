"""Plain consumers against a broker: a range of events, figures, and what is refused."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from streams.core.join.events import Event
from streams.kafka_io import follow
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.follow import RangeError
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import TopicSettings, names

pytestmark = pytest.mark.broker


def _send(topics: TopicSettings, rows: list[Out]) -> None:
    async def main() -> None:
        delivery = Delivery(topics)
        await delivery.start()
        await delivery.send(rows)
        await delivery.stop()

    asyncio.run(main())


def test_events_of_a_range_come_in_order_and_offsets_outside_are_refused(topic_settings: Callable[[int], TopicSettings]) -> None:
    topics = topic_settings(2)
    events = [json.dumps({"ts": 1_700_000_000_000 + n, "user_id": "u", "item_id": f"i{n}", "action": "play"}).encode() for n in range(5)]
    array = b"[" + events[3] + b"," + events[4] + b"]"
    _send(topics, [Out("events", 1, None, value) for value in (*events[:3], array)])

    def items(first: int | None, end: int | None) -> list[tuple[int, str]]:
        return [(at, a.record.item_id) for at, a in follow.events(topics, 1, first, end) if isinstance(a.record, Event)]

    assert items(None, None) == [(0, "i0"), (1, "i1"), (2, "i2"), (3, "i3"), (3, "i4")]
    assert items(1, 3) == [(1, "i1"), (2, "i2")]
    with pytest.raises(RangeError, match=rf"{names(topics.prefix).events}-1 holds the offsets 0:4, not 2:9"):
        items(2, 9)
    with pytest.raises(RangeError, match="no partition 7"):
        list(follow.events(topics, 7, None, None))


def test_figures_that_are_there_come_from_the_start_and_else_none(topic_settings: Callable[[int], TopicSettings]) -> None:
    topics = topic_settings(1)
    _send(topics, [Out("metrics", 0, b"window", b'{"n": %d}' % n) for n in range(3)])
    assert list(follow.metrics(topics, True, 0.0, pytest.fail)) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(follow.metrics(topics, False, 0.0, pytest.fail)) == []
