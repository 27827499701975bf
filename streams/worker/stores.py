"""State on disk: one RocksDB for each owned partition, and one for popularity as all partitions add to it.

All of one flush is one WriteBatch: rows of the tables, records to be sent (the outbox), the offset. So the state after a
crash is that at exactly this offset, and the outbox holds what may not have been sent.
"""
from __future__ import annotations

import os
import shutil
import struct
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from rocksdict import BlockBasedIndexType, BlockBasedOptions, Cache, Options, Rdict, ReadOptions, WriteBatch, WriteOptions

from online_model.checkpoint import changes
from streams.watchdog import NeedsOperator
from streams.worker.hold import HeldError, hold

Row = tuple[bytes, bytes]
Change = tuple[bytes, bytes | None]  # None deletes

ITEM_TABLES = ("popularity", "co_listening")
TABLES = ("users", "pending", "dedupe", *ITEM_TABLES, "meta")  # what a digest covers
FAMILIES = (*TABLES, "outbox")
# 1: co-listening rows among those of popularity, under longer keys. 2: users without a timer, so that none would ever expire.
# 3: co-listening rows of what came right after alone
FORMAT = b"4"

_OFFSET, _ABOUT, _FORMAT = b"\x00offset", b"\x00about", b"\x00format"  # beside the core's own rows in `meta`
_NEWEST, _NEXT = b"m", b"n"  # keys of a popularity store's sequence marks: newest folded offset of a source; next offset to read
_I64, _U64, _U32 = struct.Struct(">q"), struct.Struct(">Q"), struct.Struct(">I")


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How states lie on disk."""

    data_dir: str = "run/state"  # one folder for all workers of a host: a partition's store stays where it is when its owner changes
    cache_mb: Annotated[int, Meta(ge=1)] = 64  # block cache of all stores of a process together
    write_buffer_mb: Annotated[int, Meta(ge=1)] = 16  # of one table, in memory before it becomes a file
    sync: bool = False  # fsync each flush; not needed for exactness, since the log is read again from what survived


class StoreError(RuntimeError):
    """A store that can't be used; the message names it and says what to do."""


class StoreUnfit(StoreError, NeedsOperator):
    """A store that no restart makes usable: damaged, of another format, made with other settings."""


class StoreInUseError(StoreError):
    """Another process, or this one, holds the store."""


class Family:
    """One column family: the `Source` of a table of the core."""

    def __init__(self, db: Any) -> None:  # rocksdict's own types say less than it gives in raw mode
        self._db = db

    def get(self, keys: list[bytes]) -> list[bytes | None]:
        """Values, in the order of the keys; None: no such key."""
        return self._db.get(keys)

    def scan(self, first: bytes, end: bytes) -> Iterable[bytes]:
        """Keys from `first` up to `end`, without it."""
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        return list(self._db.keys(from_key=first, read_opt=options))

    def items(self) -> Iterator[Row]:
        """All rows, in the order of their keys."""
        return iter(self._db.items())

    def number(self, name: str) -> int:
        """A figure that RocksDB keeps of the column family, by its name there."""
        return self._db.property_int_value(name) or 0

    def close(self) -> None:
        """Let go of the column family."""
        self._db.close()


class Store:
    """A RocksDB of raw bytes with column families, written in whole batches."""

    def __init__(self, path: Path, families: Iterable[str], settings: StoreSettings, wait_s: float = 0.0) -> None:
        """Open, made where it is missing. `wait_s`: how long another process may still hold it."""
        self.path = path
        names = tuple(families)
        self._lock = _hold(path, wait_s)
        try:
            self._db = _open(path, names, settings)
        except BaseException:
            os.close(self._lock)
            raise
        self._write = WriteOptions()
        self._write.sync = settings.sync
        self._handles = {n: self._db.get_column_family_handle(n) for n in names}
        self.families = {n: Family(self._db.get_column_family(n)) for n in names}

    def write(self, changes: Mapping[str, Iterable[Change]]) -> None:
        """One atomic batch."""
        batch = WriteBatch(raw_mode=True)
        for name, rows in changes.items():
            handle = self._handles[name]
            for key, value in rows:
                if value is None:
                    batch.delete(key, handle)
                else:
                    batch.put(key, value, handle)
        self._db.write(batch, self._write)

    @property
    def compacting(self) -> bool:
        """Whether files are being merged, or wait for it."""
        busy = ("rocksdb.num-running-compactions", "rocksdb.num-running-flushes", "rocksdb.compaction-pending")
        return any(family.number(name) for family in self.families.values() for name in busy)

    def close(self) -> None:
        """Close, so that another process may open it."""
        self._handles.clear()
        for family in self.families.values():
            family.close()
        self.families.clear()
        self._db.close()
        os.close(self._lock)


class PartitionStore:
    """The state of one partition of `events`, at the offset that it was folded to."""

    def __init__(self, path: Path, settings: StoreSettings, about: Mapping[str, object], wait_s: float = 0.0) -> None:
        """`about`: what the rows depend on (topic, partition, settings); kept, and compared by `differences`."""
        self._store = Store(path, FAMILIES, settings, wait_s)
        self.path = path
        self._about = dict(about)
        meta = self._store.families["meta"]
        offset, kept, form = meta.get([_OFFSET, _ABOUT, _FORMAT])
        if form not in (None, FORMAT):
            self.close()
            raise _of_another_format(path, form.decode(errors="replace"))
        self.stored = _I64.unpack(offset)[0] if offset is not None else -1
        self.new = offset is None
        self.kept_about: dict[str, object] = msgspec.json.decode(kept) if kept else dict(about)
        self._sent = 0
        for key, _ in self._store.families["outbox"].items():
            self._sent = _U64.unpack(key)[0] + 1

    def source(self, name: str) -> Family:
        """The column family of a table of the core."""
        return self._store.families[name]

    def differences(self, defaults: Mapping[str, object] | None = None) -> dict[str, str]:
        """What the rows were made with and has changed, by name, as `name: was -> is`; what was not kept was as in `defaults`."""
        return changes(self.kept_about, self._about, defaults)

    def commit(self, tables: Mapping[str, Iterable[Change]], outbox: Iterable[bytes], offset: int) -> list[bytes]:
        """States, outbox and offset in one WriteBatch; the keys of the new outbox rows."""
        rows = [(_U64.pack(self._sent + i), value) for i, value in enumerate(outbox)]
        meta = [*tables.get("meta", ()), (_OFFSET, _I64.pack(offset))]
        if self.new:
            meta += [(_ABOUT, msgspec.json.encode(self._about)), (_FORMAT, FORMAT)]
        self._store.write({**tables, "meta": meta, "outbox": rows})
        self._sent += len(rows)
        self.stored, self.new = offset, False
        return [key for key, _ in rows]

    def outbox(self) -> list[Row]:
        """What may not have been sent, in order."""
        return list(self._store.families["outbox"].items())

    def sent(self, keys: Iterable[bytes]) -> None:
        """Forget outbox rows that are acknowledged."""
        self._store.write({"outbox": [(key, None) for key in keys]})

    @property
    def compacting(self) -> bool:
        """Whether files are being merged, or wait for it: what a busy store does beside the work it is given."""
        return self._store.compacting

    def rows(self) -> dict[str, Iterable[Row]]:
        """Every row of the tables that a digest covers."""
        return {name: self._store.families[name].items() for name in TABLES}

    def close(self) -> None:
        """Close, so that another process may open it."""
        self._store.close()


class TableStore:
    """One table in a store of its own: where a replay keeps what it does not keep in memory."""

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self._store = Store(path, ("rows",), settings)
        family = self._store.families["rows"]
        self.get, self.scan, self.items = family.get, family.scan, family.items

    def write(self, rows: Iterable[Change]) -> None:
        """Set rows; None deletes."""
        self._store.write({"rows": rows})

    def close(self) -> None:
        """Close, so that the folder may go."""
        self._store.close()


@contextmanager
def scratch(settings: StoreSettings) -> Iterator[Callable[[], TableStore]]:
    """Opens tables in a temporary folder that goes in the end; nothing is made before the first."""
    with ExitStack() as opened:

        def open_table() -> TableStore:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="segue-"))
            return opened.enter_context(closing(TableStore(Path(folder) / "rows", settings)))

        yield open_table


class PopularityStore:
    """Every source partition's part of the items' popularity, with one sequence mark a source, in one atomic write."""

    def __init__(self, path: Path, settings: StoreSettings) -> None:
        self._store = Store(path, (*ITEM_TABLES, "marks"), settings)
        kept = list(self._store.families["marks"].items())
        self.newest_folded = {_U32.unpack(k[1:])[0]: _I64.unpack(v)[0] for k, v in kept if k[:1] == _NEWEST}
        self.next_offsets = {_U32.unpack(k[1:])[0]: _I64.unpack(v)[0] for k, v in kept if k[:1] == _NEXT}

    def part(self, table: str, source: int) -> Part:
        """One source's rows of a table."""
        return Part(self._store.families[table], _U32.pack(source))

    def write(
        self, parts: Mapping[str, Mapping[int, Iterable[Change]]], newest: Mapping[int, int], next_offsets: Mapping[int, int]
    ) -> None:
        """Rows by table and source, the newest folded offset of each source, and where its topic is to be read on from."""
        changes: dict[str, list[Change]] = {
            table: [(_U32.pack(source) + key, value) for source, rows in by_source.items() for key, value in rows]
            for table, by_source in parts.items()
        }
        sequence: list[Change] = [(_NEWEST + _U32.pack(source), _I64.pack(offset)) for source, offset in newest.items()]
        sequence += [(_NEXT + _U32.pack(p), _I64.pack(offset)) for p, offset in next_offsets.items()]
        self._store.write({**changes, "marks": sequence})
        self.newest_folded.update(newest)
        self.next_offsets.update(next_offsets)

    def rows(self, table: str) -> Iterator[Row]:
        """All sources' rows of a table as they are now, each by the key of its item."""
        return ((key[_U32.size :], value) for key, value in self._store.families[table].items())

    def close(self) -> None:
        """Close, so that another process may open it."""
        self._store.close()


class Part:
    """Rows of one source partition: the `Source` of a table of the core."""

    def __init__(self, family: Family, prefix: bytes) -> None:
        self._family, self._prefix = family, prefix

    def get(self, keys: list[bytes]) -> list[bytes | None]:
        """Values, in the order of the keys; None: no such key."""
        return self._family.get([self._prefix + k for k in keys])

    def scan(self, first: bytes, end: bytes) -> Iterable[bytes]:
        """Keys from `first` up to `end`, without it."""
        cut = len(self._prefix)
        return [k[cut:] for k in self._family.scan(self._prefix + first, self._prefix + end)]


def partition_path(settings: StoreSettings, topic: str, partition: int) -> Path:
    """Where the store of a partition lies.

    >>> partition_path(StoreSettings(data_dir="run/state"), "segue.events", 3).as_posix()
    'run/state/segue.events/partition-0003'
    """
    return Path(settings.data_dir) / topic / f"partition-{partition:04d}"


def discard(path: Path) -> None:
    """Delete a store."""
    shutil.rmtree(path, ignore_errors=True)


_caches: dict[int, Cache] = {}


def _hold(path: Path, wait_s: float) -> int:
    """Lock the store by a file beside it: RocksDB moves and removes files of whoever has it, before it looks at its own lock."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return hold(path.with_name(f"{path.name}.lock"))
        except HeldError as holder:
            if time.monotonic() >= deadline:
                raise StoreInUseError(f"{path} is in use by {holder}; stop it first") from None
        time.sleep(0.05)


def _open(path: Path, families: tuple[str, ...], settings: StoreSettings) -> Rdict:
    cache = _caches.setdefault(settings.cache_mb, Cache(settings.cache_mb << 20))
    try:
        kept = set(Rdict.list_cf(str(path))) - {"default"} if (path / "CURRENT").exists() else set()
        if kept and not kept >= set(families):
            raise _of_another_format(path, "1")  # before it is opened: opening would add what is missing
        return Rdict(str(path), _options(settings, cache), column_families={n: _options(settings, cache) for n in families})
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - rocksdict raises nothing narrower
        if "LOCK:" in str(error):  # an earlier version has it
            raise StoreInUseError(f"{path} is in use by another process; stop it first") from error
        raise StoreUnfit(
            f"{path} can't be read: {error}. It is damaged, or not of this version: move it away, and it is built anew from the log"
        ) from error


def _of_another_format(path: Path, form: str) -> StoreUnfit:
    return StoreUnfit(
        f"{path} has format {form}, this version reads {FORMAT.decode()}; use its version, or move it away: it is built anew from the log"
    )


def _options(settings: StoreSettings, cache: Cache) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(cache)
    # Index and filters lie in the cache, which bounds them, in pieces of a block: whole ones, 2 MB a file, would not fit a shard of it,
    # and each read would fetch one anew (10 to 180 us a key beyond 600,000).
    table.set_bloom_filter(10, False)
    table.set_cache_index_and_filter_blocks(True)
    table.set_index_type(BlockBasedIndexType.two_level_index_search())
    table.set_partition_filters(True)
    table.set_metadata_block_size(4096)
    table.set_pin_top_level_index_and_filter(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    out = Options(raw_mode=True)
    out.create_if_missing(True)
    out.create_missing_column_families(True)
    out.set_block_based_table_factory(table)
    out.add_compact_on_deletion_collector_factory(1_000, 500, 0.5)  # files half of deletions go first, so that the disk has the room back
    out.set_write_buffer_size(settings.write_buffer_mb << 20)
    out.set_max_write_buffer_number(3)
    out.set_max_total_wal_size(settings.write_buffer_mb * 6 << 20)
    out.set_max_background_jobs(2)
    out.set_max_open_files(256)
    out.set_keep_log_file_num(2)
    out.set_max_log_file_size(4 << 20)
    out.set_paranoid_checks(True)
    return out
