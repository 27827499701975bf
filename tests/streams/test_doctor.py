"""What the doctor finds: of a broker that is not there, a foreign package, a full disk."""
from __future__ import annotations

from pathlib import Path

import pytest

from streams import doctor
from streams.kafka_io.broker import free_ports
from streams.kafka_io.topics import TopicSettings
from streams.worker.stores import StoreSettings


def found(tmp_path: Path, what: str) -> doctor.Finding:
    settings = TopicSettings(bootstrap=f"127.0.0.1:{free_ports(1)[0]}")
    findings = doctor.examine(settings, StoreSettings(data_dir=str(tmp_path / "not" / "yet")))
    return next(finding for finding in findings if finding.what.startswith(what))


def test_a_broker_that_is_not_there_is_no_failure_and_has_a_remedy(tmp_path: Path) -> None:
    broker = found(tmp_path, "broker 127.0.0.1:")
    assert (broker.ok, broker.needed) == (False, False)
    assert "segue broker" in broker.remedy and "--broker HOST:PORT" in broker.remedy


def test_a_package_that_somebody_else_brought_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.metadata, "packages_distributions", lambda: {"bandit": ["segue", "bandit"], "replay": ["segue"]})
    other, ours = found(tmp_path, "package bandit"), found(tmp_path, "package replay")
    assert (other.ok, other.needed, ours.ok) == (False, True, True)
    assert other.remedy.startswith("pip uninstall bandit")


@pytest.mark.parametrize(("free", "ok"), [(doctor.MIN_FREE_BYTES - 1, False), (doctor.MIN_FREE_BYTES, True)])
def test_a_disk_without_room_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, ok: bool) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": free}))
    assert found(tmp_path, "disk under").ok == ok
