"""Worker, learner and a copy of the model over a real broker: what is learned, how soon it answers, who may learn."""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from online_model import batch as batches
from online_model import checkpoint
from online_model.features import Example, Reversal
from online_model.trainer import ModelSettings
from replay.simulator.open_loop import simulate_log
from replay.simulator.world import WorldSettings
from streams.core.join.settings import PartitionSettings
from streams.kafka_io import messages
from streams.kafka_io.send import send
from streams.kafka_io.topics import TopicSettings, names
from streams.learner.process import LearnerProcess
from streams.learner.settings import LearnerProcessSettings, LearningSettings
from streams.worker.process import Worker
from streams.worker.replica import Replica
from streams.worker.settings import ReplicaSettings, WorkerSettings
from streams.worker.stores import StoreSettings
from tests.faults.harness import LEARNER, Process, example_records, replayed, saved_digest, taught, values
from tests.integration.test_worker import _event, _now, _produce, _until, running

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]


def _config(topics: TopicSettings, folder: Path, slot: str = "0") -> LearningSettings:
    process = LearnerProcessSettings(checkpoint_dir=str(folder / "checkpoints"), device="cpu")
    base = LearningSettings(topics=topics, learner=LEARNER, process=process)
    return msgspec.structs.replace(base, faust=msgspec.structs.replace(base.faust, slot=slot))


def _worker(topics: TopicSettings, folder: Path) -> WorkerSettings:
    return WorkerSettings(topics=topics, stores=StoreSettings(data_dir=str(folder / "state")))


@asynccontextmanager
async def _followed(topics: TopicSettings, folder: Path) -> AsyncIterator[Replica]:
    copy = Replica(topics, ReplicaSettings(checkpoint_dir=str(folder / "checkpoints")), ModelSettings())
    following = asyncio.create_task(copy.run())
    try:
        await asyncio.wait_for(copy.ready.wait(), 30)
        yield copy
    finally:
        following.cancel()


def test_sent_through_kafka_a_log_teaches_what_its_replay_teaches(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """One digest of all that was learned; and a copy that followed by deltas predicts as the learner does."""
    topics = topic_settings(1)
    log = [row.rstrip(b"\n") for row in simulate_log(WorldSettings(), 1_200, seed=6)]
    torch.set_num_threads(1)

    async def main() -> None:
        async with running(LearnerProcess(_config(topics, tmp_path))) as process, _followed(topics, tmp_path) as copy:
            async with running(Worker(_worker(topics, tmp_path))) as worker:
                await send(topics, [(row, None) for row in log])
                await _until(lambda: bool(worker.ingest.owned) and worker.ingest.owned[0].core.progress.watermark_ms > 0)
                await _until(lambda: not worker.ingest.owned[0].core.progress.in_log and worker.ingest.unsent == 0, 60)
            made = [r for r in await asyncio.to_thread(lambda: example_records(topics)[0]) if isinstance(r, Example | Reversal)]
            last = messages.examples((await asyncio.to_thread(values, topics, names(topics.prefix).examples))[-1]).records[-1]
            learner = process.loop.learner
            assert learner is not None
            # the log's last tick, too: it parts what was shown together, which is one more step
            await _until(lambda: learner.last_applied.get(0) == (last.offset, last.index, last.n), 60)
            assert learner.counted["examples"] + learner.counted["reversals"] == len(made)
            await _until(lambda: not learner.has_open_batch and copy.version == learner.version)
            batch = batches.of_records(made[-50:])
            truth = learner.trainer.predict(batch).logits
            await _until(lambda: np.allclose(copy.predict(batch).logits, truth, rtol=1e-5, atol=1e-5))  # dense ones follow later
            assert copy.loads == 1
            assert not copy.stale

    asyncio.run(main())
    assert saved_digest(tmp_path / "checkpoints") == taught(replayed(log, PartitionSettings())[1])


def test_acts_are_learned_and_answered_from_while_listeners_go_on(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """How soon is measured by `segue run`; that each act's way is measured, and no act waits for the end, is held here."""
    topics = topic_settings(1)

    async def main() -> list[int]:
        async with running(LearnerProcess(_config(topics, tmp_path))) as learner, _followed(topics, tmp_path) as copy:
            async with running(Worker(_worker(topics, tmp_path))) as worker:
                await _until(lambda: worker.ready and learner.loop.learner is not None)
                for n in range(12):
                    await _produce(topics, _event(_now(), event_id=f"e{n}", item=f"i{n}"))
                    await _until(lambda n=n: len(copy.freshness_ms) == n + 1, 10)  # type: ignore[misc]
                return list(copy.freshness_ms)

    fresh = asyncio.run(main())
    print(f"\nfreshness p50 {np.percentile(fresh, 50)} ms, p99 {np.percentile(fresh, 99)} ms")
    assert min(fresh) > 0


def test_a_restarted_learner_goes_on_and_copies_follow_its_epoch(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    config = _config(topics, tmp_path)

    async def main() -> tuple[int, int, int | None]:
        async with AsyncExitStack() as stack:
            async with running(LearnerProcess(config)) as learner:
                copy = await stack.enter_async_context(_followed(topics, tmp_path))
                await _until(lambda: copy.epoch == learner.loop.epoch)
                first = copy.epoch
            async with running(LearnerProcess(config)) as again:
                await _until(lambda: again.loop.learner is not None)
                await _until(lambda: copy.epoch == again.loop.epoch and copy.loads == 2)
                return first, copy.epoch, copy.version

    first, second, version = asyncio.run(main())
    assert second > first
    assert version == 0


def test_a_learner_that_was_replaced_ends(topic_settings: MakeTopics, tmp_path: Path) -> None:
    """Two processes that both believe to be the learner: the higher epoch wins, the other one ends with 70."""
    topics = topic_settings(1)
    old = Process("learner", _config(topics, tmp_path / "a"), _made(tmp_path / "a"), tmp_path / "a.log")
    old.wait(lambda said: said["checkpoints"] >= 1)

    async def claim() -> None:
        from streams.kafka_io.delivery import Delivery

        delivery = Delivery(topics)
        await delivery.start()
        await delivery.append(messages.Out("model_updates", 0, None, messages.encode(messages.Claim("", 0, "the other"))))
        await delivery.stop()

    asyncio.run(claim())
    deadline = time.monotonic() + 60
    while old.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert old.poll() == 70
    old.kill()
    assert "another learner (the other) claimed epoch" in (tmp_path / "a.log").read_text()


def test_a_damaged_newest_checkpoint_is_passed_over(topic_settings: MakeTopics, tmp_path: Path) -> None:
    topics = topic_settings(1)
    log = [row.rstrip(b"\n") for row in simulate_log(WorldSettings(), 1_000, seed=8)]
    config = _config(topics, tmp_path)
    root = tmp_path / "checkpoints"

    async def learn(until: int) -> None:
        async with running(LearnerProcess(config)) as learner:
            await _until(lambda: learner.loop.applied >= until, 60)

    async def main() -> None:
        async with running(Worker(_worker(topics, tmp_path))) as worker:
            sent = await send(topics, [(row, None) for row in log])
            await _until(lambda: bool(worker.ingest.owned) and worker.ingest.owned[0].store.stored >= sent.records - 1, 60)
            await _until(lambda: worker.ingest.unsent == 0)
        await learn(0)

    asyncio.run(main())
    names = checkpoint.names(root)
    assert len(names) >= 2
    (root / names[-1] / checkpoint.ARRAYS).write_bytes(b"damaged")
    end = 2
    asyncio.run(learn(end))
    assert saved_digest(root) == taught(replayed(log, PartitionSettings())[1])


def _made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path
