"""The dead-letter topic: every record that was rejected, why, and its place in the log."""
from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import xxhash

from streams.core.join.records import RejectedRecord
from streams.kafka_io import messages
from streams.kafka_io.follow import consumer, poll
from streams.kafka_io.messages import NOT_DECODED, DeadLetter
from streams.kafka_io.topics import ClientOptions, TopicSettings, names

KEPT_BYTES = 64 << 10  # of an original, in a dead letter


def letter(topic: str, partition: int, dead: RejectedRecord, original: bytes) -> bytes:
    """The value for the topic. `original`: the whole record; its first `KEPT_BYTES` are kept."""
    return msgspec.json.encode(
        DeadLetter(
            reason=dead.reason, detail=dead.detail, topic=topic, partition=partition, offset=dead.offset, index=dead.index,
            length=len(original), hash=xxhash.xxh3_64_hexdigest(original), original=original[:KEPT_BYTES],
        )
    )  # fmt: skip


def read(settings: TopicSettings, skipped: Callable[[str], None], client: ClientOptions | None = None) -> Iterator[DeadLetter]:
    """All dead letters that the broker has now, each id once (one may be sent twice after a crash).

    `skipped` gets a line about each record that is none.
    """
    seen: set[tuple[str, int, int, int]] = set()
    with consumer(settings, names(settings.prefix).dead_letter, 0, client or {}) as (reader, at):
        reader.seek_to_beginning(at)
        end = reader.end_offsets([at])[at]
        while reader.position(at) < end:
            for record in poll(reader):
                try:
                    rejected = messages.dead_letter(record.value or b"")
                except NOT_DECODED as error:
                    skipped(f"{record.topic}-{record.partition}:{record.offset}: not a dead letter: {error}")
                    continue
                if rejected.id not in seen:
                    seen.add(rejected.id)
                    yield rejected
