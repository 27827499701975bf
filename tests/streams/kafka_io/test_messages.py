"""Records on the wire: each decodes to itself, by its tag, and chunks hold all records in order."""
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.features import Tick
from streams.core.join.records import Outgoing
from streams.kafka_io import messages
from streams.kafka_io.messages import Beat, Claim, Delta, Examples, Out


@pytest.mark.parametrize(
    ("update", "wire"),
    [
        (Claim("base", 3, "host:1"), ["claim", "base", 3, "host:1"]),
        (Delta(1, 2, 3, 4, [5], b"r", b"s"), ["delta", 1, 2, 3, 4, [5], b"r", b"s"]),
        (Beat(1, 2), ["beat", 1, 2]),
    ],
)
def test_an_update_of_the_model_is_an_array_that_begins_with_its_kind(update: Claim | Delta | Beat, wire: list[object]) -> None:
    assert msgspec.msgpack.decode(messages.encode(update)) == wire
    assert messages.update(msgspec.msgpack.encode(wire)) == update


def test_a_delta_of_before_strategies_has_no_state_of_their_bandit() -> None:
    assert messages.update(msgspec.msgpack.encode(["delta", 1, 2, 3, 4, [], b"r"])) == Delta(1, 2, 3, 4, [], b"r", b"")


def test_a_row_of_the_outbox_decodes_to_itself() -> None:
    row = Out("exposures", -1, b"u", b"v")
    assert messages.out(messages.encode(row)) == row


@given(st.integers(0, 40), st.integers(1, 400))
def test_chunks_hold_all_records_in_order_and_are_small_unless_single(n: int, limit: int) -> None:
    records = [Outgoing(offset, 0, 0, Tick(1_000 + offset, False)) for offset in range(n)]
    chunks = messages.example_chunks(3, records, limit)
    parts = [messages.examples(chunk) for chunk in chunks]
    assert [record for part in parts for record in part.records] == records
    assert all(part == Examples(3, part.records) and (len(chunk) <= limit or len(part.records) == 1)
               for part, chunk in zip(parts, chunks, strict=True))  # fmt: skip
