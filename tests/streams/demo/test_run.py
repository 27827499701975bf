from __future__ import annotations

from pathlib import Path

import pytest

from streams.demo.run import settings_for
from streams.settings import load


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_run_has_topics_of_its_own_one_partition_and_a_short_join_window() -> None:
    settings, embedded = settings_for(load(None, {}), "20260102-030405")
    assert embedded
    assert (settings.topics.prefix, settings.topics.partitions) == ("segue-run-20260102-030405", 1)
    assert settings.partition.join_window_ms == 20_000
    assert (settings.service.port, settings.exporter.port) == (0, 0)  # any free ones


def test_what_was_set_stays_wherever_it_was_set() -> None:
    environment = {"SEGUE_TOPICS__BOOTSTRAP": "kafka:9092", "SEGUE_EXPORTER__PORT": "9001"}
    keys = ("topics.prefix=mine", "topics.partitions=3", "partition.join_window_ms=5000", "service.port=9000")
    settings, embedded = settings_for(load(None, environment, [("--set", key) for key in keys]), "x")
    assert not embedded and settings.topics.bootstrap == "kafka:9092"
    assert (settings.topics.prefix, settings.topics.partitions, settings.partition.join_window_ms) == ("mine", 3, 5_000)
    assert (settings.service.port, settings.exporter.port) == (9_000, 9_001)


def test_a_port_that_was_asked_for_wins() -> None:
    assert settings_for(load(None, {}, [("--set", "service.port=9000")]), "x", port=9_002)[0].service.port == 9_002
