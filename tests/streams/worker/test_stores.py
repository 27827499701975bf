from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rocksdict import Rdict

from streams.core.state.tables import Table
from streams.worker.stores import (
    FAMILIES,
    ITEM_TABLES,
    PartitionStore,
    PopularityStore,
    Store,
    StoreError,
    StoreSettings,
    StoreUnfit,
    partition_path,
)
from tests.paths import ROOT


def _open(path: Path, about: dict[str, object] | None = None) -> PartitionStore:
    return PartitionStore(path, StoreSettings(), about or {"topic": "t"})


def test_a_flush_is_found_whole_after_reopening(tmp_path: Path) -> None:
    store = _open(tmp_path / "p")
    assert (store.stored, store.new) == (-1, True)
    keys = store.commit({"users": [(b"u", b"1")], "dedupe": [(b"d", b"2")]}, [b"first", b"second"], 41)
    store.close()

    store = _open(tmp_path / "p")
    assert (store.stored, store.new) == (41, False)
    assert store.source("users").get([b"u", b"v"]) == [b"1", None]
    assert store.outbox() == list(zip(keys, [b"first", b"second"], strict=True))
    store.close()


def test_outbox_keeps_its_order_over_a_restart_and_forgets_what_was_sent(tmp_path: Path) -> None:
    store = _open(tmp_path / "p")
    first = store.commit({}, [b"%d" % i for i in range(300)], 1)
    store.sent(first[:299])
    store.close()
    store = _open(tmp_path / "p")
    store.commit({}, [b"later"], 2)
    assert [value for _, value in store.outbox()] == [b"299", b"later"]
    store.close()


def test_scan_gives_keys_from_first_up_to_end_without_it(tmp_path: Path) -> None:
    store = _open(tmp_path / "p")
    store.commit({"pending": [(k, b"") for k in (b"a1", b"a2", b"a3", b"b")]}, [], 1)
    assert list(store.source("pending").scan(b"a2", b"b")) == [b"a2", b"a3"]
    store.close()


def test_settings_that_changed_are_listed(tmp_path: Path) -> None:
    store = _open(tmp_path / "p", {"topic": "t", "join_window_ms": 600_000})
    store.commit({}, [], 0)
    store.close()
    store = _open(tmp_path / "p", {"topic": "t", "join_window_ms": 20_000})
    assert store.differences() == {"join_window_ms": "join_window_ms: 600000 -> 20000"}
    store.close()


def _files(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file: its inode, the time it was written, its content (but of RocksDB's lock, which a process loses by reading it)."""
    content = lambda path: b"" if path.name == "LOCK" else path.read_bytes()  # noqa: E731
    files = [(path, path.stat()) for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): (stat.st_ino, stat.st_mtime_ns, content(path)) for path, stat in files}


def test_a_store_in_use_is_refused_with_who_has_it_and_not_a_file_is_touched(tmp_path: Path) -> None:
    """RocksDB by itself moves the log file of whoever has the store, and removes older ones."""
    store = _open(tmp_path / "p")
    store.commit({"users": [(b"u", b"1")]}, [], 1)
    before = _files(tmp_path)
    code = (
        "import sys; from pathlib import Path; from streams.worker.stores import *\nPartitionStore(Path(sys.argv[1]), StoreSettings(), {})"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "p")], capture_output=True, text=True, cwd=ROOT, check=False)
        said = done.stderr.rstrip().rpartition("\n")[2]
        assert said.startswith(f"streams.worker.stores.StoreInUseError: {tmp_path / 'p'} is in use by process {os.getpid()} on "), said
    with pytest.raises(StoreError, match=f"p is in use by process {os.getpid()} on .*; stop it first") as error:
        _open(tmp_path / "p")
    assert not isinstance(error.value, StoreUnfit)  # the other one may end: a restart can mend it
    assert _files(tmp_path) == before
    store.close()
    _open(tmp_path / "p").close()


def test_a_store_of_the_first_format_is_refused_by_name_and_left_as_it_was(tmp_path: Path) -> None:
    """The first format had no table of co-listening, neither in a partition's store nor in that of the other partitions' parts."""
    for name, families in (("p", ("users", "pending", "dedupe", "popularity", "meta", "outbox")), ("w", ("parts", "marks"))):
        store = Store(tmp_path / name, families, StoreSettings())
        store.close()
        with pytest.raises(StoreUnfit, match=f"{name} has format 1, this version reads 4; .*move it away"):
            _open(tmp_path / name) if name == "p" else PopularityStore(tmp_path / name, StoreSettings())
        assert set(Rdict.list_cf(str(tmp_path / name))) == {"default", *families}


@pytest.mark.parametrize("form", ["2", "3", "5"])  # users of the second had no timer, the third knew what came right after alone
def test_a_store_of_an_earlier_or_later_format_is_refused_by_name(form: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "p", FAMILIES, StoreSettings())
    store.write({"meta": [(b"\x00format", form.encode())]})
    store.close()
    with pytest.raises(StoreUnfit, match=f"p has format {form}, this version reads 4"):
        _open(tmp_path / "p")


def test_a_damaged_store_is_refused_by_name(tmp_path: Path) -> None:
    store = _open(tmp_path / "p")
    store.commit({"users": [(b"u", b"1")]}, [], 1)
    store.close()
    for manifest in (tmp_path / "p").glob("MANIFEST*"):
        manifest.write_bytes(b"garbage")
    with pytest.raises(StoreUnfit, match="p can't be read: Corruption"):
        _open(tmp_path / "p")


def test_every_flush_before_sigkill_is_there_after_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from streams.worker.stores import *\n"
        "s = PartitionStore(Path(sys.argv[1]), StoreSettings(), {})\n"
        "for i in range(10_000_000):\n"
        "    s.commit({'users': [(b'n', b'%d' % i)]}, [b'%d' % i], i)\n"
        "    print(i, flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "p")], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    seen = -1
    while seen < 500:
        seen = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    last = int(([b"%d" % seen] + process.stdout.read().split(b"\n")[:-1])[-1])
    process.stdout.close()
    process.wait()

    store = _open(tmp_path / "p")
    assert store.stored >= last
    assert store.source("users").get([b"n"]) == [b"%d" % store.stored]
    assert store.outbox()[-1][1] == b"%d" % store.stored
    store.close()


def test_popularity_parts_and_their_marks_are_written_as_one(tmp_path: Path) -> None:
    store = PopularityStore(tmp_path / "p", StoreSettings())
    rows = {0: [(b"item", b"a")], 2: [(b"item", b"b")]}
    store.write({"popularity": rows, "co_listening": {2: [(b"item", b"c")]}}, {0: 10, 2: 20}, {0: 3, 1: 0})
    store.close()
    store = PopularityStore(tmp_path / "p", StoreSettings())
    assert store.newest_folded == {0: 10, 2: 20}
    assert store.next_offsets == {0: 3, 1: 0}
    tables = [[Table(bytes, bytes, store.part(name, p)) for p in range(3)] for name in ITEM_TABLES]
    assert [[table.get(b"item") for table in of] for of in tables] == [[b"a", None, b"b"], [None, None, b"c"]]
    assert list(store.rows("co_listening")) == [(b"item", b"c")]
    store.close()


def test_partitions_of_different_topics_lie_apart() -> None:
    settings = StoreSettings(data_dir="d")
    assert partition_path(settings, "x.events", 3) == Path("d/x.events/partition-0003")
