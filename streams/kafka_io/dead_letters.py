"""The dead-letter topic: every record that was not used, why, and where it stood."""
from __future__ import annotations

from collections.abc import Iterator

import msgspec
import xxhash

from streams.core.join.records import RejectedRecord
from streams.kafka_io import messages
from streams.kafka_io.messages import DeadLetter
from streams.kafka_io.topics import ClientOptions, TopicSettings, names

KEPT_BYTES = 64 << 10  # of an original, in a dead letter


def letter(topic: str, partition: int, dead: RejectedRecord, original: bytes) -> bytes:
    """The record for the topic."""
    return msgspec.json.encode(
        DeadLetter(
            reason=dead.reason, detail=dead.detail, topic=topic, partition=partition, offset=dead.offset, index=dead.index,
            length=len(original), hash=xxhash.xxh3_64_hexdigest(original), original=original[:KEPT_BYTES],
        )
    )  # fmt: skip


def read(settings: TopicSettings, client: ClientOptions | None = None) -> Iterator[DeadLetter]:
    """All dead letters that the broker has now, each id once (one may be sent twice after a crash)."""
    from kafka import KafkaConsumer, TopicPartition

    topic = TopicPartition(names(settings.prefix).dead_letter, 0)
    consumer = KafkaConsumer(bootstrap_servers=settings.bootstrap.split(","), enable_auto_commit=False, **(client or {}))
    seen: set[tuple[str, int, int, int]] = set()
    try:
        consumer.assign([topic])
        consumer.seek_to_beginning(topic)
        end = consumer.end_offsets([topic])[topic]
        while consumer.position(topic) < end:
            for records in consumer.poll(timeout_ms=1000).values():
                for record in records:
                    found = messages.dead_letter(record.value)
                    if found.id not in seen:
                        seen.add(found.id)
                        yield found
    finally:
        consumer.close()
