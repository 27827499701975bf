"""When a quiet partition gets a tick. Whole runs: tests/integration/test_worker.py."""
from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from streams.worker.settings import TickSettings
from streams.worker.ticks import Ticks


def owned(**changed: Any) -> Any:
    progress = {"in_log": False, "watermark_ms": 5_000, "open_lists": 0} | {k: v for k, v in changed.items() if k != "tick_due"}
    return SimpleNamespace(
        core=SimpleNamespace(progress=SimpleNamespace(**progress)), store=SimpleNamespace(stored=changed.get("stored", 9)),
        buffer=changed.get("buffer", []), lock=asyncio.Lock(), tick_due=changed.get("tick_due", False),
        tp=None, number=2, last_record_at=0.0,
    )  # fmt: skip


def ticks(delivery: Any = None) -> Ticks:
    consumer = SimpleNamespace(highwater=lambda tp: 10)
    return Ticks(TickSettings(first_ms=200, every_ms=1_000), SimpleNamespace(consumer=consumer), delivery)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "quiet_ms", "due"),
    [
        ({"tick_due": True}, 200, True),  # a micro-batch may be open
        ({}, 60_000, False),  # nothing is
        ({"open_lists": 1}, 999, False),
        ({"open_lists": 1}, 1_000, True),
        ({"tick_due": True, "in_log": True}, 200, False),
        ({"tick_due": True, "watermark_ms": -1}, 200, False),  # no event yet
        ({"tick_due": True, "buffer": [1]}, 200, False),
        ({"tick_due": True, "stored": 8}, 200, False),  # a record is still to be read
    ],
)
def test_a_tick_is_due_where_something_is_open_and_all_was_read(changed: dict[str, Any], quiet_ms: int, due: bool) -> None:
    assert ticks()._due(owned(**changed), quiet_ms) == due


def test_a_ticks_time_is_the_watermark_and_the_quiet_behind_it() -> None:
    sent: list[Any] = []

    async def append(row: Any, headers: Any) -> int:
        sent.extend([row, headers])
        return 0

    made, partition = ticks(SimpleNamespace(append=append)), owned()
    asyncio.run(made._write(partition, 250))
    tick = json.loads(sent[0].value)
    assert (sent[0].topic, sent[0].partition, tick["kind"], tick["ts"], made.written) == ("events", 2, "tick", 5_250, 1)
    assert partition.last_record_at > 0
    assert sent[1] == [("segue-kind", b"tick")]
