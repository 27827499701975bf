"""One record that is none of Segue's in each of its own topics: processes go on, also after a restart, and each is a dead letter."""
from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from online_model.model_settings import ModelSettings
from streams.core.join.events import Reason
from streams.core.learning.learn import Learner
from streams.kafka_io import dead_letters, messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Increments, Out
from streams.kafka_io.topics import TopicSettings, names
from streams.learner.process import LearnerProcess
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.worker.process import Worker
from streams.worker.replica import Replica
from streams.worker.settings import ReplicaSettings, WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import LEARNER, Process
from tests.integration.test_worker import _event, _now, _until, running
from tests.paths import ROOT

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]
GARBAGE = (b"\xc1 not MessagePack", b'{"from": "somebody else"}', b"")
OURS = msgspec.msgpack.encode([0, [["another version"]]])  # begins as examples do


def _worker(topics: TopicSettings, folder: Path) -> WorkerSettings:
    return WorkerSettings(topics=topics, stores=StoreSettings(data_dir=str(folder / "state")))


def _learner(topics: TopicSettings, folder: Path) -> LearningSettings:
    process = LearnerProcessSettings(checkpoint_dir=str(folder / "checkpoints"), device="cpu")
    return LearningSettings(topics=topics, learner=LEARNER, process=process)


async def _send(topics: TopicSettings, *rows: Out) -> None:
    delivery = Delivery(topics)
    await delivery.start()
    await delivery.send(rows)
    await delivery.stop()


async def _learned(learner: Learner, examples: int, replica: Replica) -> None:
    await _until(lambda: learner.counted["examples"] == examples)
    await _until(lambda: replica.version == learner.version)


def _garbage(*topics: str) -> list[Out]:
    return [Out(topic, 0, b"k", value) for topic in topics for value in GARBAGE]


def test_garbage_in_the_topics_between_worker_and_learner_is_skipped_counted_and_dead_lettered(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    topics = topic_settings(2)
    delivery = Delivery(topics)

    async def main() -> list[int]:
        replica = Replica(topics, ReplicaSettings(checkpoint_dir=str(tmp_path / "checkpoints")), ModelSettings())
        replica.own.delivery = delivery
        await delivery.start()
        foreign = Out("popularity", 0, None, messages.encode(Increments(9, [])))  # of a system with more partitions
        skipped = []
        for n in range(2):
            async with running(LearnerProcess(_learner(topics, tmp_path))) as learner, running(Worker(_worker(topics, tmp_path))) as worker:
                following = asyncio.create_task(replica.run())
                await asyncio.wait_for(replica.ready.wait(), 30)
                await _until(lambda: learner.loop.learner is not None and len(worker.ingest.owned) == 2)
                await _send(topics, *_garbage("popularity", "examples", "model_updates"), foreign)
                events = [_event(_now(), user=f"u{k}", item=f"i{n}", event_id=f"{n}-{k}") for k in range(20)]
                await _send(topics, *(Out("events", -1, f"u{k}".encode(), event) for k, event in enumerate(events)))
                assert learner.loop.learner is not None and worker.popularity is not None
                await _learned(learner.loop.learner, 20 * (n + 1), replica)
                await _until(lambda: worker.popularity.own.skipped == 4)
                await _until(lambda n=n: replica.own.skipped >= 3 * (n + 1))  # more after a restart: it begins at its checkpoint
                skipped += [own.skipped for own in (worker.popularity.own, learner.loop.own, learner.loop.claim.own)]
                following.cancel()
        await delivery.stop()
        return skipped

    skipped = asyncio.run(main())
    assert skipped == [4, 3, 3] * 2
    t = names(topics.prefix)
    letters = [letter for letter in dead_letters.read(topics, pytest.fail) if letter.reason == Reason.UNREADABLE]
    found = {topic: sum(letter.topic == topic for letter in letters) for topic in (t.popularity, t.examples, t.model_updates)}
    assert found == {t.popularity: 8, t.examples: 6, t.model_updates: 6}


def test_a_record_of_another_version_ends_the_learner_with_one_line_and_its_command_goes_on(
    topic_settings: MakeTopics, tmp_path: Path
) -> None:
    topics = topic_settings(1)
    asyncio.run(_send(topics, Out("examples", 0, None, OURS)))
    config = _learner(topics, tmp_path)
    ended = Process("learner", config, tmp_path, tmp_path / "learner.log")
    with pytest.raises(AssertionError, match="the process ended with 2"):
        ended.wait(lambda said: said["applied"] >= 0)
    assert ended.terminate() == 2
    place = f"{names(topics.prefix).examples}-0:0"
    lines = [line for line in (tmp_path / "learner.log").read_text().splitlines() if place in line]
    assert len(lines) == 1 and lines[0].startswith("segue: ") and f"""`segue learner --set 'topics.skip=["{place}"]'`""" in lines[0]
    assert "Traceback" not in (tmp_path / "learner.log").read_text()
    without = msgspec.structs.replace(config, topics=msgspec.structs.replace(topics, skip=(place,)))
    going = Process("learner", without, tmp_path, tmp_path / "going.log")
    going.wait(lambda said: said["applied"] >= 0)
    assert going.terminate() == 0
    assert [letter.offset for letter in dead_letters.read(topics, pytest.fail)] == [0]


def test_dead_letters_and_metrics_are_printed_without_what_is_none_of_them(topic_settings: MakeTopics) -> None:
    topics = topic_settings(1)
    odd = [b'{"kind": "worker"}', b'{"tasks": 1, "start_ms": "x", "width_ms": []}', b'{"kind": "strategy", "end_ms": 1e300}', b"[1]", b"7"]
    rows = [Out("metrics", 0, None, value) for value in odd] + _garbage("metrics", "dead_letter") + [Out("dead_letter", 0, None, b"{}")]
    asyncio.run(_send(topics, *rows))
    t = names(topics.prefix)

    def printed(*arguments: str) -> tuple[list[str], list[str]]:
        command = [sys.executable, "-m", "streams", *arguments, "--broker", topics.bootstrap, "--set", f"topics.prefix={topics.prefix}"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr.splitlines()

    lines, told = printed("metrics", "--seconds", "0")
    assert len(lines) == len(odd) + 1
    assert [line.split(" ")[1] for line in told] == [f"{t.metrics}-0:{len(odd) + n}:" for n in (0, 2)]  # JSON of somebody else's is printed
    lines, told = printed("dead-letters")
    assert lines == []
    assert [line.split(" ")[1] for line in told] == [f"{t.dead_letter}-0:{n}:" for n in range(4)]
