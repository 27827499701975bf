from __future__ import annotations

import json
import struct

import pytest

from streams.core.join.events import Event, Reason, Rejected
from streams.core.join.records import ARRIVAL, arrivals, original, pack_arrivals


def _event(ts: int, **more: object) -> dict[str, object]:
    return {"ts": ts, "user_id": "u", "item_id": "i", "action": "play", **more}


def _value(*events: dict[str, object]) -> bytes:
    return json.dumps(list(events)).encode()


def test_without_a_header_records_arrived_when_the_broker_appended_them() -> None:
    found = arrivals("t-0", 7, 99, [], _value(_event(1), _event(2)))
    assert [(a.offset, a.index, a.arrival_ms, a.default_id) for a in found] == [(7, 0, 99, "t-0-7-0"), (7, 1, 99, "t-0-7-1")]


def test_a_header_says_when_each_arrived() -> None:
    found = arrivals("t-0", 7, 99, [("other", b""), (ARRIVAL, pack_arrivals([5, 6]))], _value(_event(1), _event(2)))
    assert [a.arrival_ms for a in found] == [5, 6]


def test_an_empty_header_says_each_at_its_own_time() -> None:
    found = arrivals("t-0", 7, 99, [(ARRIVAL, pack_arrivals([None, None, None]))], _value(_event(1), {"ts": "no"}, _event(3)))
    assert [a.arrival_ms for a in found] == [1, 99, 3]  # what can't be read has no time of its own


def test_a_header_that_does_not_fit_moves_no_clock() -> None:
    found = arrivals("t-0", 7, 99, [(ARRIVAL, struct.pack("<3q", 5, 6, 7))], _value(_event(1), _event(2)))
    assert [a.arrival_ms for a in found] == [1, 2]


def test_arrival_times_of_an_array_are_all_there_or_none() -> None:
    with pytest.raises(ValueError, match="either every record"):
        pack_arrivals([1, None])


def test_the_original_of_an_element_is_its_own_bytes() -> None:
    first = b'{"ts":1,"user_id":"u","item_id":"i","action":"play"}'
    second = b'{ "ts": 2, "user_id": "u", "item_id": "i", "action": "play" }'
    value = b"[" + first + b", " + second + b"]"
    found = arrivals("t-0", 7, 99, [], value)
    assert [original(value, a) for a in found] == [first, second]
    assert original(first, arrivals("t-0", 8, 99, [], first)[0]) == first


def test_the_original_inside_of_a_broken_array_is_what_was_understood() -> None:
    value = b'[{"ts":1,"user_id":"u","item_id":"i","action":"play"},{"broken":'
    good, bad = arrivals("t-0", 7, 99, [], value)
    assert isinstance(good.record, Event)
    assert json.loads(original(value, good)) == _event(1)
    assert isinstance(bad.record, Rejected)
    assert original(value, bad) == bad.record.raw


def test_an_empty_value_is_one_rejection() -> None:
    (found,) = arrivals("t-0", 7, 99, [], None)
    assert isinstance(found.record, Rejected)
    assert found.record.reason is Reason.EMPTY
