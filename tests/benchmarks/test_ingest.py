"""The ingest benchmark on a log of a second: a worker takes in what a stock agent reads, event by event and as arrays."""
from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from benchmarks import ingest
from benchmarks.figure import Figure
from streams.kafka_io.broker import EmbeddedBroker

pytestmark = pytest.mark.broker


@pytest.fixture
def thresholds() -> Iterator[None]:
    """The collector's thresholds, which the benchmark changes for the whole process."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_both_forms_of_a_log_are_measured_against_one_run_of_the_stock_agent(
    thresholds: None, monkeypatch: pytest.MonkeyPatch, broker: EmbeddedBroker
) -> None:
    monkeypatch.setattr(ingest, "EVENTS", 1_000)
    monkeypatch.setattr(ingest, "EmbeddedBroker", lambda folder: nullcontext(broker))  # one that is there
    single, arrays = ingest.measure()
    assert isinstance(single, Figure) and single.what != arrays.what
    assert single.theirs == arrays.theirs > 0 and single.baseline == arrays.baseline == ingest.STOCK
    assert min(single.ours, arrays.ours) > 0
