"""One learner process: its parts, without a broker. The whole of it: tests/integration/test_learner.py."""
from __future__ import annotations

import asyncio
from pathlib import Path

from streams.kafka_io.topics import TopicSettings
from streams.learner.process import LOOK_S, LearnerProcess
from streams.learner.settings import LearningSettings
from tests.streams.learner.test_loop import config, loop


def test_two_processes_have_apps_of_their_own_over_their_prefix() -> None:
    async def main() -> tuple[LearnerProcess, LearnerProcess]:
        a, b = (LearnerProcess(LearningSettings(topics=TopicSettings(prefix=prefix))) for prefix in ("a", "b"))
        return a, b

    a, b = asyncio.run(main())
    assert (a.app.conf.id, b.app.conf.id) == ("a-learner", "b-learner")
    assert a.app is not b.app
    assert (a.loop.learner, a.loop.epoch) == (None, -1)  # until a partition is assigned
    assert a.describe() == ""


def test_a_learner_says_what_it_is_once_the_group_has_said_so_and_again_when_that_changes(tmp_path: Path) -> None:
    settings = config(tmp_path, topics=TopicSettings(prefix="a"))
    said: list[str] = []

    async def main() -> None:
        process = LearnerProcess(settings)
        speaking = asyncio.create_task(process.announce(said.append))
        process.app.unassigned = True
        await asyncio.sleep(3 * LOOK_S)
        process.loop.learner = loop(settings).learner
        await asyncio.sleep(3 * LOOK_S)
        process.loop.base, process.loop.base_version = "000000000001-0000000000000007", 1_234
        await asyncio.sleep(3 * LOOK_S)
        speaking.cancel()

    asyncio.run(main())
    where = "a.examples at 127.0.0.1:9092"
    assert said == [
        f"stands by: another learner learns {where}", f"learns {where} on cpu, from nothing",
        f"learns {where} on cpu, from checkpoint 000000000001-0000000000000007 (version 1,234) in {tmp_path}",
    ]  # fmt: skip
