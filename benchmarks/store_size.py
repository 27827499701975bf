"""Events a second of processor time over a store that holds many ids and users, against the same events over one that holds nothing else.

Both stores have the states of the users that send the events, and as many ids as expire meanwhile: what differs is what lies beside them.
Decoding, the partition's decisions and the commit are those of a worker; Kafka is left out.
"""
from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

from benchmarks.figure import Figure
from streams.core.join import keys
from streams.core.join.admission import SEEN
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.partition import Partition
from streams.core.join.records import arrivals
from streams.core.join.settings import MINUTE_MS, PartitionSettings
from streams.core.state.rows import PROGRESS, Progress
from streams.core.state.tables import Tables
from streams.kafka_io import messages
from streams.kafka_io.messages import Out
from streams.worker.stores import Change, PartitionStore, StoreSettings

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)  # ids within the dedupe window; a tenth as many users, or those who send the events
FLUSH = 500  # events of a record and of a commit
PAIRS, CHUNK = 40, 2_500  # chunks of events, over both stores by turns
ITEMS = 10_000
START = 1_700_000_040_000  # the beginning of a minute of event time
SPACING_MS = 1
BATCH = 50_000  # rows written at once while a store is filled
ACTS_BEFORE = 5  # of a user
SETTLED_S = 600.0  # longest wait until a filled store has compacted

BASELINE = "the same events over an empty store"


def measure() -> Iterator[Figure]:
    """One size after the other, each beside an empty store of its own."""
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            yield figure(size, Path(folder), PAIRS, CHUNK)


def figure(size: int, folder: Path, pairs: int, chunk: int) -> Figure:
    """Rates over a store of `size` ids and an empty one, by chunks of events in turns."""
    rng = np.random.default_rng(size)
    events = pairs * chunk
    full, empty = (FilledStore(folder / name, ids, events, rng) for name, ids in (("full", size), ("empty", 0)))
    seconds = np.array([[store.fold(n * chunk, chunk) for store in (full, empty)] for n in range(pairs)])
    for store in (full, empty):
        store.close()
    ratios = seconds[:, 1] / seconds[:, 0]
    ours, theirs = events / seconds.sum(0)
    margin = float(stats.t.ppf(0.975, pairs - 1) * ratios.std(ddof=1) / pairs**0.5)
    return Figure(
        what=f"ingest over {size:,} ids and {max(events, size // 10):,} users", unit="events/CPU s", ours=ours, baseline=BASELINE,
        theirs=theirs, interval=(ours / theirs - margin, ours / theirs + margin), budget=">= 0.85",
    )  # fmt: skip


class FilledStore:
    """A partition over a store of its own that holds ids and users before the first event comes."""

    def __init__(self, path: Path, ids: int, events: int, rng: np.random.Generator) -> None:
        """`events`: how many will come; each is sent by a user of its own who is known already, and sees one id expire."""
        settings = PartitionSettings()
        self._store = PartitionStore(path, StoreSettings(), {})
        self._write({"meta": [(PROGRESS, msgspec.msgpack.encode(Progress(watermark_ms=START)))]})
        self._fill_ids(events, START, START + MINUTE_MS, rng)
        self._fill_ids(ids, START + 12 * MINUTE_MS, START + settings.dedupe_window_ms, rng)
        self._fill_users(max(events, ids // 10))
        self._settle()
        self._partition = Partition(settings, Tables.over(self._store.source), Catalog())
        self._items = rng.integers(0, ITEMS, events).tolist()

    def fold(self, first: int, n: int) -> float:
        """Take in `n` events from number `first` on; processor seconds, those of the store's own threads too."""
        values = [
            msgspec.json.encode([
                Event(ts=START + k * SPACING_MS, user_id=f"u{k}", item_id=f"i{self._items[k]}", action=Action.PLAY, full=True)
                for k in range(at, min(at + FLUSH, first + n))
            ])
            for at in range(first, first + n, FLUSH)
        ]  # fmt: skip
        began = time.process_time()
        for value in values:
            self._fold(value)
        return time.process_time() - began

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _fold(self, value: bytes) -> None:
        """One record of `events`, as `Ingest.commit` takes it in."""
        store, tables = self._store, self._partition.tables.named()
        offset = store.stored + 1
        effects = self._partition.apply(arrivals("events-0", offset, START + 60 * MINUTE_MS, (), value))
        rows = [messages.encode(Out("examples", 0, None, chunk)) for chunk in messages.example_chunks(0, effects.examples)]
        keys_ = store.commit({name: table.writes() for name, table in tables.items()}, rows, offset)
        for table in tables.values():
            table.settle()
        store.sent(keys_)

    def _write(self, tables: dict[str, list[Change]]) -> None:
        self._store.commit(tables, [], self._store.stored + 1)

    def _fill_ids(self, n: int, first_ms: int, end_ms: int, rng: np.random.Generator) -> None:
        """Ids of 128 random bits that are forgotten between two moments, in the order of time."""
        due = np.linspace(first_ms, end_ms, n, endpoint=False).astype(">i8")
        for at in range(0, n, BATCH // 2):
            times = due[at : at + BATCH // 2]
            raw = rng.bytes(16 * len(times))
            rows: list[Change] = []
            for k, time_ms in enumerate(times):
                key = SEEN + raw[16 * k : 16 * k + 16]
                rows += [(key, b"\x01"), (b"t" + time_ms.tobytes() + key, b"")]
            self._write({"dedupe": rows})

    def _fill_users(self, n: int) -> None:
        """Users who have acted a few times, those who will send the events among them."""
        states = _states()
        order = np.random.default_rng(0).permutation(n).tolist()
        for at in range(0, n, BATCH):
            rows: list[Change] = [
                (keys.uncached("user", f"u{k}").to_bytes(8, "big"), states[k % len(states)]) for k in order[at : at + BATCH]
            ]
            self._write({"users": rows})

    def _settle(self) -> None:
        """Wait until the store compacts no more."""
        deadline = time.monotonic() + SETTLED_S
        while self._store.compacting and time.monotonic() < deadline:
            time.sleep(0.5)


def _states() -> list[bytes]:
    """States of users after some acts."""
    partition, rng = Partition(PartitionSettings(), Tables.over(), Catalog()), np.random.default_rng(1)
    for k, item in enumerate(rng.integers(0, ITEMS, 100 * ACTS_BEFORE).tolist()):
        event = Event(ts=START - 60 * MINUTE_MS + k, user_id=f"u{k % 100}", item_id=f"i{item}", action=Action.PLAY, full=True)
        partition.apply(arrivals("before", k, event.ts, (), msgspec.json.encode(event)))
    return [raw for _, raw in partition.tables.users.rows()]
