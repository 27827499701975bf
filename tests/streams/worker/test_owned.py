"""How a partition's state is opened, and its buffer."""
from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from streams.core.join.catalog import Catalog
from streams.core.join.rewards import RewardSettings
from streams.core.join.settings import PartitionSettings
from streams.core.state.rows import Progress
from streams.kafka_io.topics import TopicSettings
from streams.worker.owned import RECORD_OVERHEAD_BYTES, OwnedPartition, PartitionOpener
from streams.worker.stores import StoreSettings, StoreUnfit


def opener(folder: Path, partitions: int = 1, **changed: Any) -> PartitionOpener:
    topics, partition = TopicSettings(prefix="x", partitions=partitions), msgspec.structs.replace(PartitionSettings(), **changed)
    return PartitionOpener(topics, StoreSettings(data_dir=str(folder)), partition, Catalog(), {})


def test_a_store_of_another_partitioning_is_refused_and_another_setting_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = opener(tmp_path).store(0, 0.0)
    store.commit({}, [], 3)
    store.close()
    with pytest.raises(StoreUnfit, match=r"made with other settings \(partitions: 1 -> 2\)"):
        opener(tmp_path, partitions=2).store(0, 0.0)
    with caplog.at_level(logging.WARNING):
        store = opener(tmp_path, join_window_ms=5_000, reward=RewardSettings(collect=3.0)).store(0, 0.0)
    said = "partition 0: the state was begun with another setting: partition."
    assert caplog.messages == [said + "join_window_ms: 600000 -> 5000", said + "reward.collect: 2.0 -> 3.0"]
    assert store.stored == 3
    store.close()


def test_a_store_that_is_older_than_a_setting_had_its_default(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = opener(tmp_path).store(0, 0.0)
    del store._about["join_window_ms"], store._about["reward"]
    store.commit({}, [], 3)
    store.close()
    with caplog.at_level(logging.WARNING):
        opener(tmp_path).store(0, 0.0).close()
        assert caplog.messages == []
        opener(tmp_path, join_window_ms=5_000).store(0, 0.0).close()
    assert [text.rpartition("partition.")[2] for text in caplog.messages] == ["join_window_ms: 600000 -> 5000"]


def test_a_state_is_catching_up_until_it_is_within_the_stated_lag_and_again_only_far_beyond_it() -> None:
    """So a flush under way does not make the flag of a busy partition flicker."""
    owned = OwnedPartition(0, None, SimpleNamespace(stored=9), None, None, 510)  # type: ignore[arg-type]
    assert owned.catching_up
    assert [owned.look(lag, 100) for lag in (500, 101, 100, 101, 999, 1_000, 1_001, 101, 100)] == [
        True, True, False, False, False, False, True, True, False
    ]  # fmt: skip


def test_lag_is_known_before_the_first_fetch_and_never_from_an_older_end_of_the_log() -> None:
    store = SimpleNamespace(stored=9)
    owned = OwnedPartition(0, None, store, None, None, 510)  # type: ignore[arg-type]
    assert [owned.lag(highwater) for highwater in (None, 0, 520, 515, None)] == [500, 500, 510, 510, 510]
    store.stored = 519
    assert owned.lag(520) == 0


def test_the_buffer_gives_records_in_order_and_knows_its_size() -> None:
    owned = OwnedPartition(0, None, None, None, None)  # type: ignore[arg-type]
    for value in (b"abc", None, b"de"):
        owned.push(SimpleNamespace(message=SimpleNamespace(value=value)))  # type: ignore[arg-type]
    assert owned.buffered_bytes == 5 + 3 * RECORD_OVERHEAD_BYTES
    assert owned.pop().message.value == b"abc"
    assert owned.buffered_bytes == 2 + 2 * RECORD_OVERHEAD_BYTES
    owned.clear()
    assert (owned.buffered_bytes, len(owned.buffer), owned.paused) == (0, 0, False)


def test_the_first_jump_of_event_time_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress(jumped_from_ms=1_735_689_600_000, jumped_to_ms=1_764_460_800_000)
    none: Any = None
    owned = OwnedPartition(3, none, none, SimpleNamespace(progress=progress), none)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        owned.warn_of_a_jump(progress.jumped_to_ms)  # of an earlier process
        assert caplog.messages == []
        owned.warn_of_a_jump(-1)
        owned.warn_of_a_jump(-1)
    (said,) = caplog.messages
    assert said.startswith("partition 3: event time has jumped from 2025-01-01T00:00 to 2025-11-30T00:00, by 333 days: ")
    assert "stale_rows" in said
