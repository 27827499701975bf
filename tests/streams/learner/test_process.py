"""One learner process: its parts, without a broker. The whole of it: tests/integration/test_learner.py."""
from __future__ import annotations

import asyncio

from streams.kafka_io.topics import TopicSettings
from streams.learner.process import LearnerProcess
from streams.learner.settings import LearningSettings


def test_two_processes_have_apps_of_their_own_over_their_prefix() -> None:
    async def main() -> tuple[LearnerProcess, LearnerProcess]:
        a, b = (LearnerProcess(LearningSettings(topics=TopicSettings(prefix=prefix))) for prefix in ("a", "b"))
        return a, b

    a, b = asyncio.run(main())
    assert (a.app.conf.id, b.app.conf.id) == ("a-learner", "b-learner")
    assert a.app is not b.app
    assert (a.loop.learner, a.loop.epoch) == (None, -1)  # until a partition is assigned
