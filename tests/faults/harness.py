"""Processes to be killed, and what the state must be in the end: that of the same log, replayed without a fault."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from online_model import checkpoint
from online_model.features import ExampleRecord
from online_model.trainer import ModelSettings, Trainer
from streams.core.join.catalog import Catalog
from streams.core.join.decode import decode
from streams.core.join.events import Tick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Outgoing
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.digest import digest
from streams.core.state.tables import Tables
from streams.kafka_io import messages
from streams.kafka_io.topics import TopicSettings, names
from streams.worker.stores import PartitionStore, StoreSettings, partition_path
from tests.paths import ROOT

LEARNER = LearnerSettings(micro_batch_span_ms=60_000)  # a simulated log is thin: full batches, fewer steps


class Process:
    """One run of tests.faults.process. `last` is what it said last; its stderr goes to `log`."""

    def __init__(self, kind: str, settings: msgspec.Struct, folder: Path, log: Path) -> None:
        file = folder / f"{kind}.json"
        file.write_bytes(msgspec.json.encode(settings))
        self.started = time.monotonic()
        self.last: dict[str, Any] = {}
        self._log = log
        self._first_work_s: float | None = None
        with log.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.process", kind, str(file)],
                stdout=subprocess.PIPE, stderr=err, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            try:
                self.last = json.loads(line)
            except ValueError:
                continue  # cut off by the kill
            if self._first_work_s is None and (self.last.get("flushes") or self.last.get("turns")):
                self._first_work_s = time.monotonic() - self.started

    @property
    def worked_after_s(self) -> float:
        """From the start of the process to its first flush, or records applied."""
        assert self._first_work_s is not None, f"it found nothing to do; it had said {self.last}"
        return self._first_work_s

    def wait(self, until: Callable[[dict[str, Any]], bool], limit_s: float = 120.0) -> dict[str, Any]:
        """Until what it says last fulfils this; fails where the process ends or takes too long."""
        deadline = time.monotonic() + limit_s
        while True:
            said = self.last
            if said and until(said):
                return said
            if self._process.poll() is not None:
                raise AssertionError(f"the process ended with {self._process.returncode}; it had said {self.last}")
            if time.monotonic() > deadline:
                stacks = self.stacks()
                self.kill()
                raise AssertionError(f"waited {limit_s} s; the process said {self.last}\n{stacks}")
            time.sleep(0.002)

    def stacks(self) -> str:
        """The end of its log, with where its threads and tasks are now."""
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(1)
        return self._log.read_text(errors="replace")[-20_000:]

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self, limit_s: float = 60.0) -> int:
        """Wait until it ends by itself; its exit code."""
        self._process.wait(limit_s)
        return self._end()

    def clear(self) -> None:
        """End it where it still runs."""
        if self.poll() is None:
            self.kill()
        else:
            self._end()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._end()

    def terminate(self) -> int:
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._end()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def _end(self) -> int:
        code = self._process.wait(20)
        self._reader.join(5)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


def unacknowledged(stores: StoreSettings, topics: TopicSettings, partition: int = 0) -> int:
    """Outbox rows in the store of a partition, looked at while no worker runs, in a copy: to open a store is to recover it."""
    path = partition_path(stores, names(topics.prefix).events, partition)
    with tempfile.TemporaryDirectory() as folder:
        store = PartitionStore(shutil.copytree(path, Path(folder) / path.name), stores, {}, wait_s=5)
        try:
            return len(store.outbox())
        finally:
            store.close()


def stored_digest(stores: StoreSettings, topics: TopicSettings, partition: int = 0) -> dict[str, str]:
    """Of the state on disk."""
    store = PartitionStore(partition_path(stores, names(topics.prefix).events, partition), stores, {}, wait_s=5)
    try:
        return digest(store.rows())
    finally:
        store.close()


def replayed(rows: Iterable[bytes], settings: PartitionSettings) -> tuple[dict[str, str], list[Outgoing]]:
    """Digest and what goes to `examples` of the log in memory, without Kafka, RocksDB or faults; one partition."""
    tables = Tables.over()
    partition = Partition(settings, tables, Catalog())
    out: list[Outgoing] = []
    for n, raw in enumerate(rows):
        arrived = [Arrived(n, i, getattr(r, "ts", 0), r, f"{n}-{i}", raw) for i, r in enumerate(decode(raw))]
        out += partition.apply(arrived).examples
    out += partition.apply([Arrived(1 << 40, 0, 0, Tick(ts=0, last=True), "end")]).examples
    return digest({n: t.rows() for n, t in tables.named().items()}), out


def example_records(topics: TopicSettings) -> tuple[list[ExampleRecord], int]:
    """What a learner takes from `examples`: records above the mark of their source, in order; and how many it drops."""
    marks: dict[int, tuple[int, int, int]] = {}
    out: list[ExampleRecord] = []
    dropped = 0
    for value in values(topics, names(topics.prefix).examples):
        part = messages.examples(value)
        for record in part.records:
            sequence = (record.offset, record.index, record.n)
            if sequence <= marks.get(part.source, (-1, -1, -1)):
                dropped += 1
                continue
            marks[part.source] = sequence
            out.append(record.record)
    return out, dropped


def taught(records: Sequence[Outgoing]) -> dict[str, str]:
    """Digest of a learner that was given the records in memory."""
    torch.set_num_threads(1)
    learner = Learner(LEARNER, Trainer(ModelSettings()), default_strategy_bandit())
    learner.apply(0, records)
    return learner.digest()


def saved_digest(checkpoint_dir: Path) -> dict[str, str]:
    """Digest of the learner in the newest checkpoint."""
    found = checkpoint.load_newest(checkpoint_dir)
    assert found is not None
    torch.set_num_threads(1)
    learner = Learner(LEARNER, Trainer(ModelSettings()), default_strategy_bandit())
    learner.load(found.arrays, found.meta)
    return learner.digest()


def values(topics: TopicSettings, topic: str, partition: int = 0) -> Sequence[bytes]:
    """All values of a partition."""
    return [record.value for record in consumed(topics, topic, partition)]


def consumed(topics: TopicSettings, topic: str, partition: int = 0) -> Sequence[ConsumerRecord]:
    """All records of a partition."""
    at = TopicPartition(topic, partition)
    consumer = KafkaConsumer(bootstrap_servers=topics.bootstrap, enable_auto_commit=False, fetch_max_bytes=64 << 20)
    out: list[ConsumerRecord] = []
    try:
        consumer.assign([at])
        consumer.seek_to_beginning(at)
        end = consumer.end_offsets([at])[at]
        while consumer.position(at) < end:
            for records in consumer.poll(timeout_ms=1000).values():
                out += records
    finally:
        consumer.close()
    return out
