"""Records of our own topics: what is foreign is skipped, what begins as ours and can't be read is an error with a way out."""
from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.join.events import Reason
from streams.kafka_io import messages
from streams.kafka_io.messages import Beat, Increments, Out
from streams.kafka_io.own_records import Foreign, OwnRecords, UnreadableRecord
from streams.kafka_io.topics import TopicSettings
from streams.watchdog import unmendable

DECODE: dict[str, Any] = {"examples": messages.examples, "popularity": messages.increments, "model_updates": messages.update}
OURS: dict[str, Any] = {"examples": [0, [["?"]]], "popularity": [1, [[4, "?"]]], "model_updates": ["delta", "?"]}


class Letters:
    """In the place of a producer."""

    def __init__(self) -> None:
        self.rows: list[Out] = []

    async def append(self, row: Out) -> int:
        self.rows.append(row)
        return 0


def own(topic: str, letters: Letters | None = None, **settings: Any) -> OwnRecords[Any]:
    return OwnRecords(TopicSettings(prefix="x", **settings), topic, DECODE[topic], "worker", letters)  # type: ignore[arg-type]


def record(value: bytes | None, offset: int = 7, partition: int = 0) -> Any:
    return SimpleNamespace(partition=partition, offset=offset, value=value)


@pytest.mark.parametrize("topic", sorted(DECODE))
@pytest.mark.parametrize(
    "value",
    [None, b"", b"{}", b'{"ts": 1}', b"\xff" * 100, b"\x91" * 100_000, b"\xc1", msgspec.msgpack.encode({"a": 1}), b"\x90"],
    ids=["tombstone", "empty", "json", "an event", "bytes", "deep", "no MessagePack", "another map", "an empty array"],
)
def test_what_is_none_of_ours_is_skipped_counted_and_dead_lettered(topic: str, value: bytes | None) -> None:
    letters = Letters()
    made = own(topic, letters)
    assert asyncio.run(made.read(record(value))) is None
    assert made.skipped == 1
    (row,) = letters.rows
    letter = messages.dead_letter(row.value)
    assert (row.topic, letter.reason, letter.id) == ("dead_letter", Reason.UNREADABLE, (made.topic, 0, 7, 0))
    assert letter.original == (value or b"")[: len(letter.original)]


@pytest.mark.parametrize("topic", sorted(DECODE))
def test_what_begins_as_ours_and_cannot_be_read_names_its_place_and_the_command_that_goes_on(topic: str) -> None:
    letters = Letters()
    value = msgspec.msgpack.encode(OURS[topic])
    name = f"x.{topic.replace('_', '-')}"
    command = f"""`segue worker --set 'topics.skip=["a-1:2","{name}-0:7"]'`"""
    with pytest.raises(UnreadableRecord, match=f"^{name}-0:7: .*{re.escape(command)}$") as caught:
        asyncio.run(own(topic, letters, skip=("a-1:2",)).read(record(value)))
    assert letters.rows == []
    line = unmendable(caught.value)
    assert line is not None and "\n" not in line
    made = own(topic, letters, skip=("a-1:2", f"{name}-0:7"))
    assert asyncio.run(made.read(record(value))) is None
    assert (made.skipped, len(letters.rows)) == (1, 1)


def test_a_record_of_ours_is_read_and_nothing_is_counted() -> None:
    made = own("model_updates")
    assert asyncio.run(made.read(record(messages.encode(Beat(3, 4))))) == Beat(3, 4)
    assert own("popularity").decoded(record(messages.encode(Increments(1, [])))) == Increments(1, [])
    assert made.skipped == 0


@given(st.binary(max_size=200), st.sampled_from(sorted(DECODE)))
def test_no_bytes_at_all_raise_anything_else(value: bytes, topic: str) -> None:
    try:
        own(topic).decoded(record(value))
    except UnreadableRecord:
        pass


@given(st.sampled_from(sorted(DECODE)), st.integers(0, 60), st.binary(min_size=1, max_size=4))
def test_nor_do_bytes_of_ours_that_were_changed(topic: str, at: int, other: bytes) -> None:
    whole = bytearray(msgspec.msgpack.encode(OURS[topic]) * 4)
    whole[at : at + len(other)] = other
    try:
        assert isinstance(own(topic).decoded(record(bytes(whole))), Foreign)
    except UnreadableRecord:
        pass


@pytest.mark.parametrize("place", ["", "segue.examples", "segue.examples-0", "segue.examples:3", "segue.examples-0:x"])
def test_a_place_that_names_no_record_is_refused(place: str) -> None:
    with pytest.raises(ValueError, match="skip must name records as TOPIC-PARTITION:OFFSET"):
        TopicSettings(skip=(place,))
