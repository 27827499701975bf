"""What a dead letter says of its record, and that each is read once."""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import xxhash

from streams.core.join.events import Reason
from streams.core.join.records import RejectedRecord
from streams.kafka_io import dead_letters, messages
from streams.kafka_io.dead_letters import KEPT_BYTES
from streams.kafka_io.topics import TopicSettings


def letter(offset: int, original: bytes = b"{") -> bytes:
    return dead_letters.letter("t.events", 2, RejectedRecord(offset, 1, Reason.MALFORMED, "cut off", b""), original)


def test_a_letter_names_reason_and_place_and_keeps_the_first_64_kib() -> None:
    original = b"x" * (KEPT_BYTES + 1)
    found = messages.dead_letter(letter(7, original))
    assert (found.reason, found.detail, found.id) == (Reason.MALFORMED, "cut off", ("t.events", 2, 7, 1))
    assert (found.length, found.original) == (KEPT_BYTES + 1, b"x" * KEPT_BYTES)
    assert found.hash == xxhash.xxh3_64_hexdigest(original)


def test_a_letter_that_was_sent_twice_is_read_once_and_what_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    values, skipped = [letter(1), letter(2), letter(1), letter(3), b"[]", letter(3)], list[str]()

    def record(offset: int, value: bytes) -> Any:
        return SimpleNamespace(topic="x.dead-letter", partition=0, offset=offset, value=value)

    class Log:
        """Two records a poll."""

        at = 0

        def seek_to_beginning(self, partition: object) -> None:
            self.at = 0

        def end_offsets(self, partitions: list[object]) -> dict[object, int]:
            return dict.fromkeys(partitions, len(values))

        def position(self, partition: object) -> int:
            return self.at

        def poll(self, timeout_ms: int) -> dict[object, list[Any]]:
            self.at += 2
            return {0: [record(at, values[at]) for at in range(self.at - 2, self.at)]}

    @contextmanager
    def consumer(settings: TopicSettings, topic: str, partition: int, options: object) -> Iterator[tuple[Log, int]]:
        assert (topic, partition) == ("x.dead-letter", 0)
        yield Log(), 0

    monkeypatch.setattr(dead_letters, "consumer", consumer)
    assert [found.offset for found in dead_letters.read(TopicSettings(prefix="x"), skipped.append)] == [1, 2, 3]
    assert skipped == ["x.dead-letter-0:4: not a dead letter: Expected `object`, got `array`"]
