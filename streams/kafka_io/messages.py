"""The records of Segue's own topics, as bytes. Each names its source, so that a reader drops repeated ones."""
from __future__ import annotations

import msgspec

from online_model.popularity import Increment
from streams.core.join.events import Reason
from streams.core.join.records import Outgoing

NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # of bytes that are not such a record
CHUNK_BYTES = 1 << 20  # of one record of `examples`: far below the topic's limit, and one record for most flushes


class Examples(msgspec.Struct, frozen=True, array_like=True):
    """`examples`: records of one source partition, in order; a reader keeps one sequence mark (offset, index, n) a source."""

    source: int
    records: list[Outgoing]


class Increments(msgspec.Struct, frozen=True, array_like=True):
    """`popularity`: what the events of one source partition added, by their offsets; a reader keeps one offset a source."""

    source: int
    rows: list[tuple[int, list[Increment]]]  # (offset, all increments of that offset), offsets ascending


class Claim(msgspec.Struct, frozen=True, array_like=True, tag="claim"):
    """`model-updates`: a learner begins; the offset of this record is its epoch. Lower epochs are dropped from here on."""

    base: str  # checkpoint it goes on from; "" = from nothing
    version: int  # of that checkpoint
    writer: str  # host and process, for people


class Delta(msgspec.Struct, frozen=True, array_like=True, tag="delta"):
    """`model-updates`: what one or several steps changed."""

    epoch: int
    first: int  # versions first..version; a replica at first - 1 or later can apply it
    version: int
    watermark_ms: int
    arrivals_ms: list[int]  # broker append of every feedback that these versions learned from
    rows: bytes  # of online_model: absolute values by key; empty: no step was made
    strategy_bandit: bytes = b""  # its whole state; empty: unchanged


class Beat(msgspec.Struct, frozen=True, array_like=True, tag="beat"):
    """`model-updates`: the learner is alive, and had nothing to learn for a second."""

    epoch: int
    version: int


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`dead-letter`, as JSON: a record that was not used. (topic, partition, offset, index) is its id."""

    reason: Reason
    detail: str
    topic: str
    partition: int
    offset: int
    index: int
    length: int  # of the original, bytes
    hash: str  # xxh3-64 of the whole original
    original: bytes  # its first 64 KiB; base64 in JSON

    @property
    def id(self) -> tuple[str, int, int, int]:
        """(topic, partition, offset, index)."""
        return self.topic, self.partition, self.offset, self.index


class Out(msgspec.Struct, frozen=True, array_like=True):
    """A row of the outbox: one Kafka record to be sent."""

    topic: str  # field of `topics.Topics`
    partition: int  # -1: by the key
    key: bytes | None
    value: bytes


_out = msgspec.msgpack.Decoder(Out)
_examples = msgspec.msgpack.Decoder(Examples)
_increments = msgspec.msgpack.Decoder(Increments)
_update = msgspec.msgpack.Decoder(Claim | Delta | Beat)
_letter = msgspec.json.Decoder(DeadLetter)
_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
out = _out.decode
examples = _examples.decode
increments = _increments.decode
update = _update.decode
dead_letter = _letter.decode


def example_chunks(source: int, records: list[Outgoing], limit: int = CHUNK_BYTES) -> list[bytes]:
    """Records as values of `examples`, each at most about `limit` bytes; one that is larger goes alone.

    >>> example_chunks(0, [])
    []
    """
    if not records:
        return []
    whole = encode(Examples(source, records))
    if len(whole) <= limit or len(records) == 1:
        return [whole]
    middle = len(records) // 2
    return example_chunks(source, records[:middle], limit) + example_chunks(source, records[middle:], limit)
