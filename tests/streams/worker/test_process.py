"""One worker: its parts, without a broker. The whole of it: tests/integration/test_worker.py."""
from __future__ import annotations

import asyncio
from pathlib import Path

from streams.kafka_io.topics import TopicSettings
from streams.worker.process import Worker
from streams.worker.settings import WorkerSettings
from streams.worker.stores import StoreSettings


def worker(folder: Path, partitions: int) -> Worker:
    async def main() -> Worker:
        topics, stores = TopicSettings(prefix="x", partitions=partitions), StoreSettings(data_dir=str(folder))
        return Worker(WorkerSettings(topics=topics, stores=stores))

    return asyncio.run(main())


def test_popularity_of_others_is_read_only_where_there_are_others(tmp_path: Path) -> None:
    alone, several = worker(tmp_path / "a", 1), worker(tmp_path / "b", 3)
    assert (alone.popularity, len(alone.ingest.opener.popularity)) == (None, 0)
    assert several.popularity is not None and sorted(several.ingest.opener.popularity) == [0, 1, 2]


def test_a_worker_is_ready_once_its_catalog_is_whole_and_partitions_are_assigned(tmp_path: Path) -> None:
    made = worker(tmp_path, 1)
    assert not made.ready
    made.catalog_reader.reader.caught_up.set()
    assert not made.ready
    made.ingest.owned[0] = None  # type: ignore[assignment]
    assert made.ready
