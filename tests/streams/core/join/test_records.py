from __future__ import annotations

import json
import struct
from functools import partial

import pytest

from streams.core.join import records
from streams.core.join.catalog import Catalog
from streams.core.join.events import Event, Exposure, Reason, Rejected
from streams.core.join.partition import Partition
from streams.core.join.records import ARRIVAL, original, pack_arrivals
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import Tables

T = 1_704_067_200_000
arrivals = partial(records.arrivals, earliest_ts=0)


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


def test_propensities_above_1_by_rounding_are_1_and_counted_wherever_they_stand() -> None:
    slot = {"item_id": "i", "position": 0, "propensity": 1.0000001, "propensity_given_above": 1.000001, "module_propensity": 1.0}
    draw = {"surface": "list", "arms": ["a", "b"], "chances": [1.0000001, 0.0], "segment": 0}
    shown = {"kind": "exposure", "ts": T, "user_id": "u", "request_id": "r", "strategy": "a", "slots": [slot, slot], "choice": draw}
    exposure, event, exact, beyond = arrivals(
        "t-0",
        7,
        99,
        [(ARRIVAL, b"")],
        _value(shown, _event(T, propensity=1.0000001), _event(T, propensity=1.0), _event(T, propensity=1.000002)),
    )
    assert (exposure.rounded, event.rounded, exact.rounded) == (5, 1, 0)
    assert isinstance(exposure.record, Exposure) and isinstance(event.record, Event) and exposure.record.arm_draw is not None
    assert [each.propensity for each in exposure.record.slots] == [each.conditional_propensity for each in exposure.record.slots] == [1, 1]
    assert (exposure.record.arm_draw.propensities, event.record.propensity) == ((1.0, 0.0), 1.0)
    assert isinstance(beyond.record, Rejected) and beyond.record.reason is Reason.OUT_OF_BOUNDS
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    effects = partition.apply([exposure, event, exact, beyond])
    assert partition.progress.counted["rounded_propensities"] == 6 and len(effects.dead) == 1
    assert effects.exposures == [exposure.record]
