"""`segue learner`: the loop over `examples`, and services beside it."""
from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence

from streams.kafka_io import app as apps
from streams.kafka_io import topics as topics_of
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.topics import names
from streams.learner.loop import LearningLoop
from streams.learner.settings import LearningSettings
from streams.watchdog import Watchdog

NEEDS = {"examples": ("READ",), "model_updates": ("READ", "WRITE"), "metrics": ("WRITE",), "dead_letter": ("WRITE",)}

Service = Callable[["LearnerProcess"], Awaitable[None]]


class LearnerProcess:
    """One learner process; its parts are for services to look at. Made inside of a running loop."""

    def __init__(self, config: LearningSettings, services: Sequence[Service] = ()) -> None:
        self.config = config
        self._services = services
        self._tasks: list[asyncio.Task[None]] = []
        self.watchdog = Watchdog(config.process.stall_s)
        self.delivery = Delivery(config.topics)
        self.loop = LearningLoop(config, self.delivery, self.watchdog)
        self.app = apps.build_app("learner", config.topics, config.faust, names(config.topics.prefix).examples, self.loop)

    async def start(self) -> None:
        """In this order: topics checked, producer, agent; beside them the learner is loaded, which takes longest."""
        self.loop.load()
        await asyncio.to_thread(topics_of.await_created, self.config.topics, NEEDS)
        self.watchdog.start()
        await self.delivery.start()
        await self.loop.start()
        self.app.finalize()
        await self.app.start()
        gc.freeze()  # all that a collection would look through in vain from now on
        gc.enable()
        self._tasks = apps.start_services(self, self._services)

    async def stop(self) -> None:
        """Save, acknowledge, leave the group."""
        await apps.cancel(self._tasks)
        await self.loop.stop()
        await self.app.stop()
        await self.delivery.stop()
        self.watchdog.stop()


def run_learner(config: LearningSettings, services: Sequence[Service] = ()) -> None:
    """Run until SIGTERM or Ctrl-C. `services` are started in its loop."""
    gc.disable()  # until it has started: what is imported and loaded by then is no garbage, and looking takes an eighth of the time
    apps.run(lambda: LearnerProcess(config, services))
