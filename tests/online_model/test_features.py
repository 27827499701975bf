"""The records of the `examples` topic: what goes out comes back, and an unknown kind is refused."""
from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.features import (
    COUNTS,
    NO_PLAY_TIMES,
    POPULARITY_HALF_LIVES_H,
    TASKS,
    Closed,
    Example,
    ExampleRecord,
    Features,
    Reversal,
    Tick,
)
from tests import strategies

closed = st.integers(0, 5).flatmap(
    lambda n: st.builds(
        Closed,
        ts=strategies.near_times,
        ids=st.lists(strategies.keys, min_size=n, max_size=n),
        labels=st.lists(st.integers(0, 63), min_size=n, max_size=n),
        shown_before_ms=strategies.near_times,
    )
)
ticks = st.builds(Tick, ts=strategies.near_times, last=st.booleans())


@settings(max_examples=60)
@given(strategies.examples | strategies.reversals | closed | ticks)
def test_every_record_survives_the_wire(record: Example | Reversal | Closed | Tick) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(record), type=ExampleRecord) == record


@settings(max_examples=10)
@given(strategies.features)
def test_features_of_before_plays_were_counted_by_length_have_none(features: Features) -> None:
    names = [field.name for field in msgspec.structs.fields(Features)]
    before = msgspec.to_builtins(features, builtin_types=(bytes,))[: names.index("play_times")]
    assert msgspec.convert(before, Features).play_times == NO_PLAY_TIMES


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="Invalid value 'reward2'"):
        msgspec.msgpack.decode(msgspec.msgpack.encode(["reward2", 1]), type=ExampleRecord)


def test_label_bits_and_half_lives_are_those_of_the_design() -> None:
    assert TASKS == ("full_play", "collect", "share", "skip", "dislike")
    assert COUNTS == ("exposures", *TASKS)
    assert POPULARITY_HALF_LIVES_H == (1, 24, 168)
