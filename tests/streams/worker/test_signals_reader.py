"""Increments of other partitions: each folded once, over repeats and restarts."""
from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from online_model.popularity import POPULAR, Increment, increments, of_item
from streams.core.join.settings import PartitionSettings
from streams.kafka_io import messages
from streams.kafka_io.messages import Increments
from streams.kafka_io.topics import TopicSettings
from streams.worker.signals_reader import PopularityReader
from streams.worker.stores import PopularityStore, StoreSettings

ITEM = 77
HOUR = 3_600_000


def record(offset: int, source: int, *rows: tuple[int, int]) -> Any:
    """`rows`: (offset in `events`, hour of the event)."""
    value = messages.encode(Increments(source, [(at, [Increment(ITEM, hour * HOUR, POPULAR)]) for at, hour in rows]))
    return SimpleNamespace(partition=source, offset=offset, value=value)


def wanted(*hours: int) -> bytes:
    decay, row = of_item(PartitionSettings().rate_half_life_h), None
    for hour in hours:
        row = decay.add(row, hour * HOUR, increments(POPULAR, 1))
    assert row is not None
    return row


def test_each_offset_of_a_source_is_folded_once_also_after_a_restart(tmp_path: Path) -> None:
    topics = TopicSettings(partitions=2)
    key = ITEM.to_bytes(8, "big")

    async def apply(*batches: list[Any]) -> tuple[list[bytes | None], dict[int, int]]:
        store = PopularityStore(tmp_path / "p", StoreSettings())
        reader = PopularityReader(topics, PartitionSettings(), store)
        for batch in batches:
            await reader._apply(batch)
        rows = [reader.parts[source].popularity.get(key) for source in range(2)]
        following = dict(store.next_offsets)
        store.close()
        return rows, following

    first = [record(0, 0, (3, 1), (5, 2)), record(1, 0, (5, 2), (6, 4))]  # offset 5 is repeated
    assert asyncio.run(apply(first, [record(0, 1, (0, 9))])) == ([wanted(1, 2, 4), wanted(9)], {0: 2, 1: 1})
    assert asyncio.run(apply(first, [record(2, 0, (7, 5))])) == ([wanted(1, 2, 4, 5), wanted(9)], {0: 3, 1: 1})
