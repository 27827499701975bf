"""What a worker and its parts are set by; read without Faust."""
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from streams.core.join.settings import EventSettings, PartitionSettings
from streams.kafka_io.topics import FaustSettings, TopicSettings
from streams.worker.stores import StoreSettings


class IngestSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How events are taken in."""

    flush_records: Annotated[int, Meta(ge=1)] = 500  # a flush at this many, or …
    flush_ms: Annotated[float, Meta(ge=0)] = 5.0  # … so long after the first; measured: 10 ms from produce to processed at p50
    buffer_mb: Annotated[int, Meta(ge=1)] = 32  # of values read ahead; beyond it the partition is paused, below half it goes on
    accept_loss: bool = False  # go on where the log no longer holds what the state needs; counted
    caught_up_lag: Annotated[int, Meta(ge=0)] = 100  # records; a state further behind its log is catching up: slates of it are flagged
    stall_s: Annotated[float, Meta(gt=0)] = 60.0  # a flush that takes longer ends the process


class TickSettings(msgspec.Struct, frozen=True, kw_only=True):
    """When a quiet partition gets a tick."""

    first_ms: int = 200  # of quiet, before the first: a feedback's step must not wait for the next feedback
    every_ms: int = 1000  # after that, while joins are open: windows close within a second of their time

    def __post_init__(self) -> None:
        if not 0 < self.first_ms <= self.every_ms:
            raise ValueError(f"0 < first_ms ({self.first_ms}) <= every_ms ({self.every_ms}) must hold")


class ReplicaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The replica of the model that a worker serves from."""

    checkpoint_dir: str = "run/checkpoints"  # where the learner writes; workers read it
    stale_after_s: float = 10.0  # without a record from the learner: slates are flagged from here on
    threads: int = 1  # of torch in the worker: the cores are taken by the events


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker runs by."""

    topics: TopicSettings = TopicSettings()
    stores: StoreSettings = StoreSettings()
    events: EventSettings = EventSettings()
    partition: PartitionSettings = PartitionSettings()
    ingest: IngestSettings = IngestSettings()
    ticks: TickSettings = TickSettings()
    faust: FaustSettings = FaustSettings()
