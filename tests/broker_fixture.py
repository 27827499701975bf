"""One embedded broker for the whole test run, and topics of their own for each test that asks."""
from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.kafka_io import topics
from streams.kafka_io.broker import EmbeddedBroker
from streams.kafka_io.topics import TopicSettings

_numbers = itertools.count()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """Shared: for tests that leave it running."""
    with EmbeddedBroker(tmp_path_factory.mktemp("kafka")) as b:
        yield b


@pytest.fixture
def topic_settings(broker: EmbeddedBroker) -> Callable[[int], TopicSettings]:
    """Topics under a fresh prefix, made, with so many partitions."""

    def make(partitions: int = 1) -> TopicSettings:
        settings = TopicSettings(bootstrap=broker.bootstrap, prefix=f"t{os.getpid()}-{next(_numbers)}", partitions=partitions)
        topics.create(settings)
        return settings

    return make


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """One to be killed."""
    with EmbeddedBroker(tmp_path / "kafka") as b:
        yield b
