"""Where reading begins, with Faust entering, cutting off and re-entering the seek. Whole: tests/faults/test_pauses.py."""
from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP

from streams.kafka_io.gaps import EmptyOffsets
from streams.kafka_io.stored_consumer import consumer

AT = [TP("x.events", 0), TP("x.events", 1)]


flow: list[str] = []  # what became of it


class Opener:
    """Finds the place 7 of each partition, when it may."""

    def __init__(self) -> None:
        self.may, self.calls, self.cut_off = asyncio.Event(), 0, 0

    async def __call__(self, assigned: Iterable[TP], committed: Mapping[TP, int | None]) -> dict[TP, int]:
        self.calls += 1
        try:
            await self.may.wait()
        except asyncio.CancelledError:
            self.cut_off += 1
            raise
        return dict.fromkeys(assigned, 7)


@pytest.fixture
def sought(monkeypatch: pytest.MonkeyPatch) -> dict[TP, int]:
    """What was sought in the consumer's thread; Faust's own part of the consumer is scripted."""
    out: dict[TP, int] = {}
    flow.clear()

    async def nothing(self: Any, *arguments: Any) -> None: ...

    async def seek(self: Any, at: TP, offset: int) -> None:
        out[at] = offset

    async def all_of(self: Any, active: set[TP], timeout: float) -> dict[TP, list[int]]:
        return {at: [1] for at in active}

    async def sleep(self: Any, seconds: float) -> None:
        await asyncio.sleep(0)

    for name, scripted in {
        "perform_seek": nothing, "on_partitions_revoked": nothing, "on_partitions_assigned": nothing, "seek": seek, "_getmany": all_of,
        "sleep": sleep, "stop_flow": lambda self: flow.append("stopped"), "resume_flow": lambda self: flow.append("resumed"),
        "assignment": lambda self: set(AT),
    }.items():  # fmt: skip
        monkeypatch.setattr(Consumer, name, scripted)
    return out


def made(opener: Opener) -> Any:
    kind: Any = consumer(opener, EmptyOffsets())
    out = object.__new__(kind)
    out._placed, out._placing, out._revoked, out._committed_offset = set(), None, False, defaultdict(lambda: None)
    return out


def test_a_seek_that_is_cut_off_goes_on_and_one_that_comes_meanwhile_waits_for_it(sought: dict[TP, int]) -> None:
    async def main() -> int:
        opener = Opener()
        reading = made(opener)
        first = asyncio.create_task(reading.perform_seek())
        await asyncio.sleep(0.01)
        first.cancel()  # as Faust does when its time is over
        second = asyncio.create_task(reading.perform_seek())
        await asyncio.sleep(0.01)
        opener.may.set()
        await second
        assert reading._committed_offset == dict.fromkeys(AT, 7)
        return opener.calls

    assert asyncio.run(main()) == 1
    assert sought == dict.fromkeys(AT, 7)


def test_a_partition_gives_no_record_before_its_place_is_found(sought: dict[TP, int]) -> None:
    async def main() -> tuple[Any, Any]:
        opener = Opener()
        reading = made(opener)
        seeking = asyncio.create_task(reading.perform_seek())
        await asyncio.sleep(0.01)
        before = await reading._getmany(set(AT), 1.0)
        opener.may.set()
        await seeking
        return before, await reading._getmany({AT[0]}, 1.0)

    assert asyncio.run(main()) == ({}, {AT[0]: [1]})


def test_a_revocation_ends_the_opening_and_nothing_is_opened_again_before_the_next_assignment(sought: dict[TP, int]) -> None:
    async def main() -> tuple[int, int]:
        opener = Opener()
        reading = made(opener)
        seeking = asyncio.create_task(reading.perform_seek())
        await asyncio.sleep(0.01)
        await reading.on_partitions_revoked(set(AT))
        await seeking
        await reading.perform_seek()  # the fetcher's, which found records of what was given up
        assert (opener.calls, opener.cut_off, await reading._getmany(set(AT), 1.0)) == (1, 1, {})
        opener.may.set()
        await reading.on_partitions_assigned(set(AT))
        await reading.perform_seek()
        return opener.calls, len(await reading._getmany(set(AT), 1.0))

    assert asyncio.run(main()) == (2, 2)


def test_an_assignment_that_ends_while_its_places_are_found_is_found_again(sought: dict[TP, int], monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        opener = Opener()
        opener.may.set()
        reading, failing = made(opener), [IllegalStateError("no current assignment"), AssertionError("no partitions")]

        async def committed(self: Any) -> None:
            if failing:
                raise failing.pop()

        monkeypatch.setattr(Consumer, "perform_seek", committed)
        monkeypatch.setattr("streams.kafka_io.stored_consumer.RETRY_S", 0.01)
        await reading.perform_seek()
        return len(reading._placed)

    assert asyncio.run(main()) == 2


def test_what_faust_resumes_for_an_assignment_that_is_revoked_meanwhile_stays_stopped(sought: dict[TP, int]) -> None:
    """It forgets what came between this and the resumption for the next assignment: the records would be lost."""

    async def main() -> None:
        reading = made(Opener())
        await reading.on_partitions_revoked(set(AT))
        reading.resume_flow()
        await reading.on_partitions_assigned(set(AT))
        reading.resume_flow()

    asyncio.run(main())
    assert flow == ["stopped", "resumed"]


def test_the_end_of_a_log_is_unknown_where_the_partition_is_not_assigned_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Any, at: TP) -> int:
        raise AssertionError("Partition is not assigned")

    monkeypatch.setattr(Consumer, "highwater", gone)
    assert object.__new__(consumer(Opener(), EmptyOffsets())).highwater(AT[0]) is None  # type: ignore[arg-type]
