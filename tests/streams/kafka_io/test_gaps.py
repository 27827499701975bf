"""A look into a log: bounds, and the first record of a range."""
from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import LogReader
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import TopicSettings, names


def test_a_reader_that_was_not_started_says_so() -> None:
    with pytest.raises(ValueError, match="not started"):
        asyncio.run(LogReader("127.0.0.1:1").bounds("t", 0))


@pytest.mark.broker
def test_the_first_record_of_a_range_is_found_and_none_where_there_is_none(topic_settings: Callable[[int], TopicSettings]) -> None:
    topics = topic_settings(1)
    topic = names(topics.prefix).events

    async def main() -> tuple[tuple[int, int], list[int | None]]:
        delivery, reader = Delivery(topics), LogReader(topics.bootstrap)
        await delivery.start()
        await reader.start()
        try:
            await delivery.send([Out("events", 0, None, b"%d" % n) for n in range(10)])
            ranges = ((3, 5), (10, 10), (9, 12))
            return await reader.bounds(topic, 0), [await reader.first_record(topic, 0, first, end) for first, end in ranges]
        finally:
            await reader.stop()
            await delivery.stop()

    assert asyncio.run(main()) == ((0, 10), [3, None, 9])
