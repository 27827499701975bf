"""Plain consumers of Segue's topics, with kafka-python: what any program beside Segue would do, too."""
from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from streams.core.join.records import Arrived, arrivals
from streams.kafka_io.topics import ClientOptions, TopicSettings, names

POLL_MS = 200
PATIENCE: ClientOptions = {"bootstrap_timeout_ms": 5_000}  # a person waits for the answer; the client's own is 30 s


class RangeError(ValueError):
    """Offsets that the topic doesn't hold."""


def metrics(settings: TopicSettings, from_start: bool, seconds: float | None) -> Iterator[Any]:
    """Records of `metrics`: what is there, and what comes within the seconds (None: for ever)."""
    from kafka import KafkaConsumer, TopicPartition

    at = TopicPartition(names(settings.prefix).metrics, 0)
    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap.split(","), enable_auto_commit=False, **PATIENCE)
    try:
        consumer.assign([at])
        (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(at)
        until = None if seconds is None else time.monotonic() + seconds
        end = consumer.end_offsets([at])[at]
        while consumer.position(at) < end or until is None or time.monotonic() < until:
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                yield from (msgspec.json.decode(record.value) for record in records)
    finally:
        consumer.close()


def events(settings: TopicSettings, partition: int, first: int | None, end: int | None) -> Iterator[tuple[int, Arrived]]:
    """Records of one partition of `events` as the worker takes them, with their offsets, from `first` up to `end` (not in it)."""
    from kafka import KafkaConsumer, TopicPartition

    topic = names(settings.prefix).events
    at = TopicPartition(topic, partition)
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap.split(","), enable_auto_commit=False, max_partition_fetch_bytes=32 << 20, **PATIENCE
    )
    try:
        known = consumer.partitions_for_topic(topic)
        if not known or partition not in known:
            raise RangeError(f"no partition {partition} of {topic} at {settings.bootstrap}; `segue topics` shows what is there")
        consumer.assign([at])
        begin, after = consumer.beginning_offsets([at])[at], consumer.end_offsets([at])[at]
        start, stop = begin if first is None else first, after if end is None else end
        if start < begin or stop > after:
            raise RangeError(f"{topic}-{partition} holds the offsets {begin}:{after}, not {start}:{stop}")
        consumer.seek(at, start)
        while consumer.position(at) < stop:
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    if record.offset < stop:
                        for arrived in arrivals(f"{topic}-{partition}", record.offset, record.timestamp, record.headers, record.value):
                            yield record.offset, arrived
    finally:
        consumer.close()
