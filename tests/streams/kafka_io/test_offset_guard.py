"""The rules of offsets, with a scripted log: [first, end), and where records are in it."""
from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from streams.kafka_io.offset_guard import OffsetError, OffsetGuard, SkippedRecord

STATE = Path("run/state")


@dataclass
class ScriptedLog:
    """In the place of a `LogReader`."""

    first: int = 0
    end: int = 0
    records: tuple[int, ...] = ()
    looks: int = 0

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self.first, self.end

    async def first_record(self, topic: str, partition: int, first: int, end: int) -> int | None:
        self.looks += 1
        return next((offset for offset in self.records if first <= offset < end), None)


def guard(log: ScriptedLog, accept_loss: bool = False) -> OffsetGuard:
    return OffsetGuard(log, "t.events", 2, accept_loss)  # type: ignore[arg-type]


@pytest.mark.parametrize(("applied", "due"), [(-1, 0), (4, 5), (9, 10)])  # nothing yet, in the middle, all there is
def test_reading_goes_on_behind_the_state(applied: int, due: int) -> None:
    made = guard(ScriptedLog(0, 10))
    assert asyncio.run(made.resume(applied, STATE, new=False)) == due
    assert not made.counted


@pytest.mark.parametrize("accept_loss", [False, True])
@pytest.mark.parametrize("new", [False, True])
def test_a_state_ahead_of_its_log_is_refused_since_the_topic_is_another(accept_loss: bool, new: bool) -> None:
    with pytest.raises(
        OffsetError, match=r"run/state is at offset 99, but t.events-2 ends at 10: it is another topic; move run/state away"
    ):
        asyncio.run(guard(ScriptedLog(0, 10), accept_loss).resume(99, STATE, new))


def test_a_new_state_begins_where_the_log_does_and_nothing_is_lost() -> None:
    made = guard(ScriptedLog(8, 10))
    assert asyncio.run(made.resume(-1, STATE, new=True)) == 8
    assert not made.counted


def test_lost_offsets_are_refused_by_number() -> None:
    with pytest.raises(OffsetError, match=r"t.events-2: offsets 3 to 7 are lost: run/state needs them.*--set ingest.accept_loss=true$"):
        asyncio.run(guard(ScriptedLog(8, 10)).resume(2, STATE, new=False))


def test_lost_offsets_that_are_accepted_are_counted() -> None:
    made = guard(ScriptedLog(8, 10), accept_loss=True)
    assert asyncio.run(made.resume(2, STATE, new=False)) == 8
    assert made.counted == {"lost_offsets": 5}  # 3, 4, 5, 6, 7


def test_offsets_in_order_are_admitted_without_a_look_into_the_log_and_repeated_ones_are_not() -> None:
    log = ScriptedLog()
    made = guard(log)

    async def main() -> list[bool]:
        return [await made.admits(offset, applied) for offset, applied in ((0, -1), (1, 0), (1, 1), (0, 1), (2, 1))]

    assert asyncio.run(main()) == [True, True, False, False, True]
    assert (made.counted, log.looks) == ({"repeated_records": 2}, 0)


def test_a_gap_that_holds_no_record_is_admitted_and_counted() -> None:
    made = guard(ScriptedLog(records=(3, 7)))
    assert asyncio.run(made.admits(7, 3))
    assert made.counted == {"empty_offsets": 3}  # 4, 5, 6


@pytest.mark.parametrize("at", [4, 5, 6])
def test_a_record_in_a_gap_is_an_error_that_names_it(at: int) -> None:
    made = guard(ScriptedLog(records=(at,)), accept_loss=True)
    with pytest.raises(SkippedRecord, match=rf"offset 7 came when 4 was due, and a record is at {at}"):
        asyncio.run(made.admits(7, 3))
    assert not made.counted
