"""The learner's loop without its topics: what it learns by turns, and how soon it begins."""
from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from online_model.features import ExampleRecord, Tick
from streams.core.learning.learn import LearnerSettings
from streams.kafka_io import messages
from streams.kafka_io.messages import Delta, Examples, Out
from streams.kafka_io.topics import TopicSettings, names
from streams.learner.loop import LearningLoop, QueuedRecord
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from tests.paths import ROOT
from tests.streams.core.learning.test_learn import COUNT, SMALL, T0, example, numbered, reward


def config(folder: Path, **more: Any) -> LearningSettings:
    learns = LearnerSettings(micro_batch_examples=COUNT)
    process = LearnerProcessSettings(checkpoint_dir=str(folder), device="cpu", dense_every_s=1e9)
    return LearningSettings(learner=learns, model=SMALL, process=process, **more)


def loop(config: LearningSettings) -> LearningLoop:
    """Not started, so that neither Kafka nor a watchdog is asked for anything."""
    made = LearningLoop(config, None, None)  # type: ignore[arg-type]
    made.learner, _, made.applied = made.checkpoints.load()
    made.claim.epoch = 1
    made.publisher.begin_epoch(1, made.learner)
    return made


def turn(made: LearningLoop, records: Sequence[ExampleRecord], at: int) -> Delta | None:
    value = messages.encode(Examples(0, numbered(records, at)))
    made._queue.append(QueuedRecord(SimpleNamespace(message=SimpleNamespace(value=value, offset=at))))  # type: ignore[arg-type]
    assert made.learner is not None
    delta = made._learn(made.learner)
    made._queue.clear()
    return delta


class Slow:
    """In the place of the producer: records are with the broker when the test says so."""

    topics = names(TopicSettings().prefix)

    def __init__(self) -> None:
        self.rows: list[Out] = []
        self.acks: list[asyncio.Future[Any]] = []

    async def start_sending(self, rows: Iterable[Out]) -> list[asyncio.Future[Any]]:
        began = [asyncio.get_running_loop().create_future() for _ in rows]
        self.rows += rows
        self.acks += began
        return began

    def acknowledge(self, topic: str) -> None:
        for offset, ack in enumerate(self.acks):
            if not ack.done():
                ack.set_result(SimpleNamespace(topic=topic, offset=100 + offset))


def save(made: LearningLoop) -> None:
    assert made.learner is not None
    made.checkpoints.write(made.checkpoints.snapshot(made.learner, made.epoch, made.applied, made.publisher.updates_offset))


def test_a_learner_learns_before_what_takes_seconds_to_import_is_there(tmp_path: Path) -> None:
    """From the first turn or from a checkpoint, drift's windows in it, to the next checkpoint; both in one process."""
    made = loop(config(tmp_path / "again"))
    turn(made, [*(example(n) for n in range(COUNT)), reward(1, 1), Tick(T0 + 3, False)], 0)
    assert made.learner is not None and made.learner.strategy_bandit.policies["page"].drift["experience"].arrays()["lengths"].any()
    save(made)
    code = f"""
import sys
from pathlib import Path
from tests.streams.learner.test_loop import COUNT, config, example, loop, save, turn
for folder in ("first", "again"):
    made = loop(config(Path({str(tmp_path)!r}) / folder))
    assert (made.applied, turn(made, [example(n) for n in range(COUNT)], 10) is not None) == (-1, True)
    save(made)
    print(sorted({{"river", "sympy", "pandas", "sklearn", "scipy.stats"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    assert (done.stdout, done.returncode) == ("[]\n[]\n", 0), done.stderr


def test_records_are_lined_up_once_each_and_repeated_ones_are_only_acknowledged(tmp_path: Path) -> None:
    made = loop(config(tmp_path))
    made.applied = 4
    for offset in (3, 4, 5, 6, 6, 7):
        made.buffer(SimpleNamespace(message=SimpleNamespace(offset=offset)))  # type: ignore[arg-type]
    asyncio.run(made._enqueue())
    assert [record.event.message.offset for record in made._queue] == [5, 6, 7]
    assert [event.message.offset for event in made._unacked] == [3, 4, 6]
    assert made.guard.counted == {"repeated_records": 3}


def test_a_standby_buffers_nothing_and_has_no_learner_to_read(tmp_path: Path) -> None:
    made = LearningLoop(config(tmp_path), None, None)  # type: ignore[arg-type]
    made.buffer(SimpleNamespace(message=SimpleNamespace(offset=0)))  # type: ignore[arg-type]
    assert asyncio.run(made.between_turns(lambda learner: learner.version)) is None
    assert not made._buffer
