"""Plain consumers of Segue's topics, with kafka-python: what any program beside Segue would do, too."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from streams.core.join.events import EARLIEST_TS
from streams.core.join.records import Arrived, arrivals
from streams.kafka_io.messages import NOT_DECODED
from streams.kafka_io.topics import ISOLATION, PATIENCE, READ, ClientOptions, TopicSettings, names, require

POLL_MS = 200


class RangeError(ValueError):
    """Offsets that the topic doesn't hold."""


def metrics(settings: TopicSettings, from_start: bool, seconds: float | None, skipped: Callable[[str], None]) -> Iterator[Any]:
    """Records of `metrics`, decoded: those that are there, if `from_start`, and those that come within the seconds (None: for ever).

    `skipped` gets a line about each record that is not JSON.
    """
    with consumer(settings, names(settings.prefix).metrics, 0, PATIENCE) as (client, at):
        (client.seek_to_beginning if from_start else client.seek_to_end)(at)
        until = None if seconds is None else time.monotonic() + seconds
        end = client.end_offsets([at])[at]
        while client.position(at) < end or until is None or time.monotonic() < until:
            for record in poll(client):
                try:
                    yield msgspec.json.decode(record.value or b"")
                except NOT_DECODED as error:
                    skipped(f"{record.topic}-{record.partition}:{record.offset}: not JSON: {error}")


def events(
    settings: TopicSettings, partition: int, first: int | None, end: int | None, earliest_ts: int = EARLIEST_TS
) -> Iterator[tuple[int, Arrived]]:
    """Records of one partition of `events` as the worker applies them, with their offsets: [first, end), None the topic's own bound.

    Raises RangeError where the topic has no such partition or offsets.
    """
    topic = names(settings.prefix).events
    with consumer(settings, topic, partition, PATIENCE | {"max_partition_fetch_bytes": 32 << 20}) as (client, at):
        if partition not in (client.partitions_for_topic(topic) or ()):
            raise RangeError(f"no partition {partition} of {topic} at {settings.bootstrap}; `segue topics` shows what is there")
        begin, after = client.beginning_offsets([at])[at], client.end_offsets([at])[at]
        start, stop = begin if first is None else first, after if end is None else end
        if start < begin or stop > after:
            raise RangeError(f"{topic}-{partition} holds the offsets {begin}:{after}, not {start}:{stop}")
        client.seek(at, start)
        while client.position(at) < stop:
            for record in poll(client):
                if record.offset < stop:
                    place, value = f"{topic}-{partition}", record.value
                    for arrived in arrivals(place, record.offset, record.timestamp, record.headers, value, earliest_ts):
                        yield record.offset, arrived


@contextmanager
def consumer(settings: TopicSettings, topic: str, partition: int, options: ClientOptions) -> Iterator[tuple[Any, Any]]:
    """A kafka-python consumer of one partition, without a group, and the partition as its methods name it; closed at the end.

    Raises TopicProblem where there is no such topic, or it may not be read.
    """
    from kafka import KafkaConsumer, TopicPartition

    require(settings, {topic.removeprefix(f"{settings.prefix}.").replace("-", "_"): READ}, PATIENCE)
    servers = settings.bootstrap.split(",")
    client = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False, isolation_level=ISOLATION, **options)
    at = TopicPartition(topic, partition)
    try:
        client.assign([at])
        yield client, at
    finally:
        client.close()


def poll(client: Any) -> Iterator[Any]:
    """The records that come within `POLL_MS`."""
    for records in client.poll(timeout_ms=POLL_MS).values():
        yield from records
