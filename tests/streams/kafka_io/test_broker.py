"""The embedded broker: what survives it, what ends it, and what its errors name."""
from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from streams.kafka_io import broker as broker_module
from streams.kafka_io.broker import BrokerError, EmbeddedBroker
from tests.paths import ROOT

pytestmark = pytest.mark.broker


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def _await_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not _alive(pid):
            return True
        time.sleep(0.1)
    return False


def test_records_and_port_survive_sigkill(own_broker: EmbeddedBroker) -> None:
    at = own_broker.bootstrap
    admin = KafkaAdminClient(bootstrap_servers=at)
    admin.create_topics({"t": {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    producer = KafkaProducer(bootstrap_servers=at, acks="all")
    producer.send("t", b"kept").get(10)
    producer.close()

    assert own_broker.pid is not None
    os.kill(own_broker.pid, signal.SIGKILL)
    own_broker.stop()
    own_broker.start()

    assert own_broker.bootstrap == at
    consumer = KafkaConsumer("t", bootstrap_servers=at, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    assert next(consumer).value == b"kept"
    consumer.close()


def test_a_cluster_id_may_begin_with_a_dash_and_the_next_folder_needs_no_jvm_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One id in 64 does, and is no option for all that. Kafka's own tool makes the first folder; by copies of it begin all other tests."""
    monkeypatch.setattr(broker_module, "KEPT", str(tmp_path / "kept"))
    with monkeypatch.context() as patched:
        patched.setattr(os, "urandom", lambda n: b"\xf8" * n)  # "-Pj4-P…" in base64
        with EmbeddedBroker(tmp_path / "kafka") as made:
            ids = _ids(made.data_dir)
    assert ids["cluster.id"].startswith("-Pj4-Pj4")
    other = EmbeddedBroker(tmp_path / "other")
    other._format("no JVM", tmp_path, tmp_path)
    assert (other.data_dir / "logs" / broker_module.FIRST_METADATA).read_bytes() == (tmp_path / "kept").read_bytes() != b""
    copied = _ids(other.data_dir)
    assert copied.keys() == ids.keys() and (copied["version"], copied["node.id"]) == (ids["version"], ids["node.id"])
    assert len({ids["cluster.id"], copied["cluster.id"], copied["directory.id"], ids["directory.id"]}) == 4


def _ids(folder: Path) -> dict[str, str]:
    lines = (folder / "logs" / "meta.properties").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


def test_second_broker_in_the_same_folder_is_refused(broker: EmbeddedBroker) -> None:
    with pytest.raises(BrokerError, match="in use by another broker"):
        EmbeddedBroker(broker.data_dir).start()


def test_broker_ends_when_its_owner_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from streams.kafka_io.broker import EmbeddedBroker\n"
        "b = EmbeddedBroker(Path(sys.argv[1])); b.start(); print(b.pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert _alive(pid)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert _await_gone(pid)


def test_without_jgo_the_error_names_the_two_other_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    stub = tmp_path / "python"
    stub.write_text("#!/bin/sh\necho 'No module named jgo' >&2\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    with pytest.raises(BrokerError, match="pip install 'segue.embedded.'") as error:
        EmbeddedBroker(tmp_path / "data", cache_dir=empty).start()
    assert "--broker HOST:PORT" in str(error.value)
    assert "docker compose" in str(error.value)
