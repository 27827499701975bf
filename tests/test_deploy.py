"""docker-compose.yml against what Segue is: its settings, its verbs, its files."""
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.cli.main import segue
from streams.settings import SettingsError, load
from tests.paths import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "build" in service]


def test_all_parts_are_there() -> None:
    assert set(SERVICES) == {"kafka", "topics", "worker", "learner", "prometheus", "grafana"}
    assert OURS == ["topics", "worker", "learner"]


@pytest.mark.parametrize("name", OURS)
def test_environment_of_our_services_is_settings_and_command_is_a_verb(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {key: str(value) for key, value in SERVICES[name]["environment"].items()}
    loaded = load(None, environment)
    assert {value.source for value in loaded.values if value.source != "default"} == set(environment)
    host, port = loaded.settings.topics.bootstrap.split(":")
    assert host in SERVICES and f"INSIDE://{host}:{port}" in SERVICES[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    verb, *rest = SERVICES[name]["command"]
    segue.commands[verb].make_context(verb, list(rest), parent=segue.make_context("segue", [verb]))


def test_worker_and_learner_share_state_and_checkpoints_and_have_slots_of_their_own() -> None:
    worker, learner = SERVICES["worker"], SERVICES["learner"]
    assert worker["environment"]["SEGUE_REPLICA__CHECKPOINT_DIR"] == learner["environment"]["SEGUE_LEARNER_PROCESS__CHECKPOINT_DIR"]
    assert worker["volumes"] == learner["volumes"]
    assert worker["environment"]["SEGUE_FAUST__SLOT"] != learner["environment"]["SEGUE_FAUST__SLOT"]


def test_ports_are_of_the_loopback_and_mounted_files_exist() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (ROOT / source).is_file() if source.startswith("./") else source in COMPOSE["volumes"]


def test_prometheus_asks_worker_and_learner_where_they_answer_with_their_token() -> None:
    jobs = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in jobs for made in job["static_configs"] for target in made["targets"]]
    ports = {"worker": load(None, {}).settings.service.port, "learner": load(None, {}).settings.exporter.port}
    assert targets == [f"{name}:{port}" for name, port in ports.items()]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert {job["authorization"]["credentials_file"] for job in jobs} == {f"/run/secrets/{secret}"}
    variable = COMPOSE["secrets"][secret]["environment"]
    for name, section in (("worker", "SERVICE"), ("learner", "EXPORTER")):
        assert SERVICES[name]["environment"][f"SEGUE_{section}__TOKEN"] == f"${{{variable}:-}}"
        assert SERVICES[name]["environment"][f"SEGUE_{section}__HOST"] == "0.0.0.0"  # noqa: S104 - inside of its container
    assert SERVICES["worker"]["ports"] == [f"127.0.0.1:{ports['worker']}:{ports['worker']}"]


def test_without_a_token_worker_and_learner_say_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, section in (("worker", "service"), ("learner", "exporter")):
        environment = {key: "" if key.endswith("__TOKEN") else str(value) for key, value in SERVICES[name]["environment"].items()}
        with pytest.raises(SettingsError, match=f"token is empty; set {section}.token"):
            load(None, environment)


def test_the_client_accepts_the_file_where_there_is_one() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        return  # no client here: the tests above read the file by themselves
    environment = os.environ | {"SEGUE_SERVICE__TOKEN": "chosen"}
    subprocess.run([docker, "compose", "-f", str(ROOT / "docker-compose.yml"), "config", "--quiet"], check=True, env=environment)
