"""A flush with a scripted log and producer: what is durable, sent and acknowledged, in which order."""
from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from faust.types import TP

from streams.kafka_io.messages import Out
from streams.watchdog import Watchdog
from streams.worker.ingest import Ingest, IngestSettings
from tests.streams.worker.test_owned import opener

AT = TP("x.events", 0)


class ScriptedLog:
    """A log of five records, all of which are there."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, 5

    async def stop(self) -> None: ...


class ScriptedDelivery:
    """Keeps what is handed over; the test acknowledges."""

    def __init__(self) -> None:
        self.rows: list[Out] = []
        self.acks: list[asyncio.Future[None]] = []

    def partition(self, key: bytes) -> int:
        return 0

    async def start_sending(self, rows: Iterable[Out]) -> list[asyncio.Future[None]]:
        started = [asyncio.get_running_loop().create_future() for _ in rows]
        self.rows += rows
        self.acks += started
        return started

    async def send(self, rows: Iterable[Out]) -> None:
        self.rows += rows


def event(offset: int, acked: list[int]) -> Any:
    value = json.dumps({"ts": 1_000 + offset, "user_id": "u", "item_id": f"i{offset}", "action": "play"}).encode()
    message = SimpleNamespace(partition=0, offset=offset, value=value, key=None, headers=None, timestamp=1.0 + offset / 1_000)
    return SimpleNamespace(message=message, ack=lambda: acked.append(offset))


def ingest(folder: Path, delivery: ScriptedDelivery) -> Ingest:
    made = Ingest(opener(folder), IngestSettings(), delivery, Watchdog(60))  # type: ignore[arg-type]
    made._log = ScriptedLog()  # type: ignore[assignment]
    return made


def test_a_flush_is_durable_before_it_is_sent_and_acknowledged_only_after(tmp_path: Path) -> None:
    delivery, acked = ScriptedDelivery(), list[int]()

    async def main() -> None:
        made = ingest(tmp_path, delivery)
        assert await made.assigned([AT], {}) == {AT: 0}
        for offset in (0, 1, 1, 2):
            made.buffer(event(offset, acked))
        owned = made.owned[0]
        await made.commit(owned)
        assert (owned.store.stored, made.flushes, acked) == (2, 1, [])
        assert len(owned.store.outbox()) == made.unsent == len(delivery.rows) > 0
        for ack in delivery.acks:
            ack.set_result(None)
        await owned.sending[-1]
        assert (owned.store.outbox(), made.unsent, acked) == ([], 0, [0, 1, 1, 2])
        assert (owned.counted["records"], owned.counted["repeated_records"]) == (4, 1)
        await made.stop()

    asyncio.run(main())


def test_what_may_not_have_been_sent_is_sent_again_before_reading_goes_on(tmp_path: Path) -> None:
    first, second, acked = ScriptedDelivery(), ScriptedDelivery(), list[int]()

    async def cut_off() -> None:
        made = ingest(tmp_path, first)
        await made.assigned([AT], {})
        made.buffer(event(0, acked))
        await made.commit(made.owned[0])
        made.owned[0].sending[-1].cancel()  # as a kill: nothing was acknowledged
        made.owned[0].store.close()

    async def again() -> None:
        made = ingest(tmp_path, second)
        assert await made.assigned([AT], {AT: 0}) == {AT: 1}
        assert made.owned[0].store.outbox() == []
        await made.stop()

    asyncio.run(cut_off())
    asyncio.run(again())
    assert (second.rows, acked) == (first.rows, [])


@pytest.mark.parametrize("bad", [{"flush_records": 0}, {"flush_ms": -1.0}, {"buffer_mb": 0}, {"stall_s": 0.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"Expected `(int|float)` (>=|>) "):
        msgspec.convert(bad, IngestSettings)
