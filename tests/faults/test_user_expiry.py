"""Users who came once are forgotten, in replay as live, and the disk has the room back."""
from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from streams.core.join.catalog import Catalog
from streams.core.join.decode import decode
from streams.core.join.events import Tick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.digest import digest
from streams.core.state.tables import Tables
from streams.worker.stores import PartitionStore, StoreSettings

HOUR, DAY = 3_600_000, 86_400_000
START = 1_700_000_000_000
SETTINGS = PartitionSettings(user_expire_d=2.0, join_retention_ms=2 * HOUR)


def visits(users: int, visitors: int) -> Iterator[bytes]:
    """Users who came once in the first hours; then, days later, others who come once in an hour."""
    for n in range(users):
        yield event(START + n * 4 * HOUR // users, f"once-{n}", n)
    for n in range(visitors):
        yield event(START + DAY + n * HOUR, f"later-{n}", n)


def event(ts: int, user: str, n: int) -> bytes:
    return msgspec.json.encode({"ts": ts, "user_id": user, "item_id": f"i{n % 100}", "action": "play", "full": True})


def fold(partition: Partition, log: list[bytes], store: PartitionStore | None) -> None:
    """Apply a log in flushes."""
    for at in range(0, len(log), 500):
        records = [Arrived(at + n, 0, r.ts, r, f"{at + n}") for n, raw in enumerate(log[at : at + 500]) for r in decode(raw)]  # type: ignore[union-attr]
        if at + 500 >= len(log):
            records.append(Arrived(len(log), 0, 0, Tick(last=True), ""))
        partition.apply(records)
        tables = partition.tables.named()
        if store is not None:
            store.commit({name: table.writes() for name, table in tables.items()}, [], at)
        for table in tables.values():
            table.settle()


def test_users_who_came_once_are_forgotten_live_as_in_replay(tmp_path: Path) -> None:
    log = list(visits(600, 100))
    alone = Partition(SETTINGS, Tables.over(), Catalog())
    fold(alone, log, None)
    store = PartitionStore(tmp_path / "p", StoreSettings(), {})
    stored = Partition(SETTINGS, Tables.over(store.source), Catalog())
    try:
        fold(stored, log, store)
        assert digest(store.rows()) == digest({name: table.rows() for name, table in alone.tables.named().items()})
        assert len(list(alone.tables.users.rows())) == 49  # of the last two days
        assert alone.progress.counted["expired_users"] == stored.progress.counted["expired_users"] == 651
    finally:
        store.close()


def test_the_disk_has_the_room_of_deleted_users_back_once_others_have_written_as_much(tmp_path: Path) -> None:
    store, rng = PartitionStore(tmp_path / "p", StoreSettings(write_buffer_mb=1), {}), np.random.default_rng(1)
    try:
        keys = [rng.bytes(8) for _ in range(20_000)]
        for at in range(0, len(keys), 2_000):
            store.commit({"users": [(key, rng.bytes(300)) for key in keys[at : at + 2_000]]}, [], at)
        full = _files(store)
        store.commit({"users": [(key, None) for key in keys]}, [], len(keys))
        for at in range(20):
            store.commit({"dedupe": [(rng.bytes(17), rng.bytes(300)) for _ in range(1_000)]}, [], len(keys) + at)
        deadline = time.monotonic() + 30
        while _files(store) > full / 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        print(f"files of users: {full:,} bytes, then {_files(store):,}")
        assert full > 4_000_000 and _files(store) < full / 4
    finally:
        store.close()


def _files(store: PartitionStore) -> int:
    return store.source("users").number("rocksdb.live-sst-files-size")
