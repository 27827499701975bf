"""A backlog after a restart: until the state has caught up, answers say so, and the lag is right from the first moment."""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streams.core.join.events import Event
from streams.http.exporter import _of_learner
from streams.kafka_io import messages
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Examples, Out
from streams.kafka_io.topics import TopicSettings
from streams.learner.loop import LearningLoop
from streams.learner.process import LearnerProcess
from streams.status import StatusSettings, WorkerReporter
from streams.worker.ingest import Ingest
from streams.worker.owned import OwnedPartition
from streams.worker.process import Worker
from streams.worker.settings import IngestSettings
from tests.integration.test_learner import _config
from tests.integration.test_service import Client, ask, ask_page, play, send, series, serving, taken, until
from tests.integration.test_worker import running
from tests.streams.core.learning.test_learn import COUNT, example, numbered

BACKLOG, FLUSH = 350, 50

pytestmark = pytest.mark.broker

MakeTopics = Callable[[int], TopicSettings]


async def _write(topics: TopicSettings, rows: Iterable[Out]) -> None:
    delivery = Delivery(topics)
    await delivery.start()
    await delivery.send(rows)
    await delivery.stop()


async def _readiness(client: Client) -> Any:
    async with client.get("/readyz") as response:
        assert response.status == 200  # nobody else can serve these users
        return (await response.json())["catching_up"]


async def _says(worker: Worker, client: Client) -> tuple[bool, int]:
    """Whether it is catching up and the lag, as every way to ask says."""
    figures, status = await series(client), WorkerReporter(StatusSettings(), None)._status(worker).partitions[0]
    lag = int(figures['segue_lag_records{partition="0"}'])
    behind = bool(figures['segue_catching_up{partition="0"}'])
    assert (status.catching_up, status.lag) == (behind, lag)
    assert await _readiness(client) == ({"0": lag} if behind else {})
    for made in (await ask(client), await ask_page(client)):  # a guest's, which add nothing to the log
        assert ("catching_up" in made["flags"]) == behind
    return behind, lag


async def _truth(worker: Worker) -> int:
    """The lag by Kafka's own end of the log."""
    owned = worker.ingest.owned[0]
    _, end = await worker.ingest.log.bounds(owned.tp.topic, 0)
    return end - owned.store.stored - 1


def test_until_a_backlog_is_taken_in_lists_and_pages_are_flagged_and_lag_is_what_it_is(
    topic_settings: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flushes are let on one by one, so that each look is at a known lag: 350 records, 50 a flush, caught up at 100."""
    topics = topic_settings(1)
    allowed, commit = asyncio.Semaphore(0), Ingest.commit

    async def gated(self: Ingest, owned: OwnedPartition) -> None:
        await allowed.acquire()
        await commit(self, owned)

    async def main() -> None:
        async with serving(topics, tmp_path) as (worker, _, client):
            await send(client, play("ada", "i0"))
            await until(lambda: taken(worker) == 1)
            await until(lambda: worker.ingest.unsent == 0 and not worker.ingest.catching_up())
            assert await _says(worker, client) == (False, 0)
        plays = (msgspec.json.encode(msgspec.convert(play("ada", f"i{n}"), Event)) for n in range(BACKLOG))
        await _write(topics, (Out("events", 0, None, value) for value in plays))

        monkeypatch.setattr(Ingest, "commit", gated)
        async with serving(topics, tmp_path) as (worker, _, client):
            worker.ingest.settings = IngestSettings(flush_records=FLUSH)
            seen = [await _says(worker, client)]
            assert seen == [(True, await _truth(worker))] and seen[0][1] >= BACKLOG
            assert "catching_up" in (await ask(client, user_id="ada"))["flags"]
            await until(lambda: len(worker.ingest.owned[0].buffer) >= BACKLOG)
            while seen[-1][1] > FLUSH:  # before the last flush: a quiet partition gets ticks
                flushes = worker.ingest.flushes
                allowed.release()
                await until(lambda flushes=flushes: worker.ingest.flushes > flushes)  # type: ignore[misc]
                seen.append(await _says(worker, client))
                assert seen[-1][1] == await _truth(worker)
            assert [behind for behind, _ in seen] == [lag > 100 for _, lag in seen]
            assert (len(seen), sum(behind for behind, _ in seen)) == (7, 5), seen  # 350, 300, 250, 200, 150
            monkeypatch.setattr(Ingest, "commit", commit)
            for _ in range(99):
                allowed.release()

    asyncio.run(main())


def test_the_lag_of_a_learner_is_right_before_it_has_fetched_anything(
    topic_settings: MakeTopics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = topic_settings(1)
    hold = asyncio.Event()

    async def held(self: LearningLoop) -> None:
        await hold.wait()

    async def main() -> None:
        parts = (messages.encode(Examples(0, numbered([example(at + n) for n in range(COUNT)], at))) for at in range(0, 50, 10))
        await _write(topics, [Out("examples", 0, None, part) for part in parts])
        turn = LearningLoop._turn
        monkeypatch.setattr(LearningLoop, "_turn", held)
        async with running(LearnerProcess(_config(topics, tmp_path))) as process:
            await until(lambda: process.loop.learner is not None)
            lag = {metric.name: metric.samples[0].value for metric in _of_learner(process) if metric.samples}["segue_learner_lag_records"]
            assert lag == 5
            monkeypatch.setattr(LearningLoop, "_turn", turn)
            hold.set()
            await until(lambda: process.loop.lag(None) == 0)

    asyncio.run(main())
