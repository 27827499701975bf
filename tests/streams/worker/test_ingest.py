"""A flush with a scripted log and producer: what is durable, sent and acknowledged, in which order."""
from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.types import TP

from streams.kafka_io.messages import Out
from streams.kafka_io.offset_guard import OffsetGuard
from streams.watchdog import Watchdog
from streams.worker.ingest import Ingest
from streams.worker.owned import PartitionOpener
from streams.worker.settings import IngestSettings
from streams.worker.stores import PartitionStore, StoreInUseError
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


def event(offset: int, acked: list[int], partition: int = 0) -> Any:
    value = json.dumps({"ts": 1_000 + offset, "user_id": "u", "item_id": f"i{offset}", "action": "play"}).encode()
    message = SimpleNamespace(partition=partition, offset=offset, value=value, key=None, headers=None, timestamp=1.0 + offset / 1_000)
    return SimpleNamespace(message=message, ack=lambda: acked.append(offset))


def ingest(folder: Path, delivery: ScriptedDelivery, partitions: int = 1, stall_s: float = 60.0) -> Ingest:
    made = Ingest(opener(folder, partitions), IngestSettings(stall_s=stall_s), delivery, Watchdog(60))  # type: ignore[arg-type]
    made.log = ScriptedLog()  # type: ignore[assignment]
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


def test_an_opening_that_is_cut_off_leaves_no_store_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rebalance comes while the thread still opens the store: the next call must not wait for what this process holds itself."""
    opening, open_store = threading.Event(), PartitionOpener.store

    def slowly(self: PartitionOpener, number: int, wait_s: float) -> PartitionStore:
        opening.set()
        time.sleep(0.2)
        return open_store(self, number, wait_s)

    monkeypatch.setattr(PartitionOpener, "store", slowly)

    async def main() -> None:
        made = ingest(tmp_path, ScriptedDelivery())
        first = asyncio.create_task(made.assigned([AT], {}))
        await asyncio.to_thread(opening.wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert made.owned == {}
        at = time.monotonic()
        assert await made.assigned([AT], {}) == {AT: 0}
        assert time.monotonic() - at < 2
        await made.stop()

    asyncio.run(main())


def test_a_store_that_another_worker_still_holds_is_waited_for_and_then_refused(tmp_path: Path) -> None:
    async def main() -> None:
        made = ingest(tmp_path, ScriptedDelivery(), stall_s=0.4)
        held = made.opener.store(0, 0.0)
        waiting = asyncio.create_task(made.assigned([AT], {}))
        await asyncio.sleep(0.1)
        held.close()
        assert await waiting == {AT: 0}
        await made.revoked([AT])
        held = made.opener.store(0, 0.0)
        with pytest.raises(StoreInUseError, match=f"is in use by process {os.getpid()}"):
            await made.assigned([AT], {})
        held.close()
        await made.stop()

    asyncio.run(main())


def test_a_partition_whose_flush_stalls_leaves_the_others_going_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Partition 1 waits in the middle of its flush, then for Kafka; partition 0 goes on, and each stall is told."""
    go_on, admits = asyncio.Event(), OffsetGuard.admits

    async def slowly(self: OffsetGuard, offset: int, applied: int) -> bool:
        if self.partition == 1:
            await go_on.wait()
        return await admits(self, offset, applied)

    monkeypatch.setattr(OffsetGuard, "admits", slowly)

    async def main() -> None:
        delivery, acked = ScriptedDelivery(), list[int]()
        made = ingest(tmp_path, delivery, partitions=2)
        running = asyncio.create_task(made.run())
        await made.assigned([AT, TP("x.events", 1)], {})
        for offset in range(3):
            made.buffer(event(offset, acked, partition=1))
            made.buffer(event(offset, acked))
            await asyncio.sleep(0.05)
        zero, one = made.owned[0], made.owned[1]
        assert (zero.store.stored, one.store.stored) == (2, -1)
        for ack in delivery.acks:
            ack.set_result(None)
        await asyncio.sleep(0.05)
        assert (acked, made.stalled(0.1), made.stalled(60.0)) == ([0, 1, 2], ["flush of partition 1"], [])
        go_on.set()
        await asyncio.sleep(0.15)
        assert (one.store.stored, made.stalled(0.1)) == (2, ["acknowledgement of what partition 1 sends"])
        for ack in delivery.acks:
            if not ack.done():
                ack.set_result(None)
        await asyncio.sleep(0.05)
        assert (len(acked), made.stalled(0.0)) == (6, [])
        running.cancel()
        await made.stop()

    asyncio.run(main())
