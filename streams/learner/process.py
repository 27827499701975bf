"""`segue learner`: the loop over `examples`, and services beside it."""
from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from faust.types import TP

from streams.kafka_io import app as apps
from streams.kafka_io import topics as topics_of
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import LogEnds
from streams.kafka_io.topics import names
from streams.learner.loop import LearningLoop
from streams.learner.settings import LearningSettings
from streams.watchdog import Watchdog

LOOK_S = 0.1  # between two looks at what a person is told
NEEDS = {"examples": ("READ",), "model_updates": ("READ", "WRITE"), "metrics": ("WRITE",), "dead_letter": ("WRITE",)}

Service = Callable[["LearnerProcess"], Awaitable[None]]


class LearnerProcess:
    """One learner process; its parts are for services to look at. Made inside of a running loop."""

    def __init__(self, config: LearningSettings, services: Sequence[Service] = ()) -> None:
        config = msgspec.structs.replace(config, faust=apps.with_slot(config.faust, config.process.checkpoint_dir))
        self.config = config
        self._services = services
        self._tasks: list[asyncio.Task[None]] = []
        self.watchdog = Watchdog(config.process.stall_s)
        self.delivery = Delivery(config.topics)
        self.loop = LearningLoop(config, self.delivery, self.watchdog)
        self.log_ends = LogEnds(self.loop.log, lambda: [self.loop.place])
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
        self._tasks = apps.start_services(self, [lambda process: process.loop.loaded(), *self._services])
        self._tasks.append(asyncio.create_task(self.log_ends.run()))

    def describe(self) -> str:
        """One line for people: learner or standby, on what, from which checkpoint. Empty until the group has said which."""
        loop, process, topics = self.loop, self.config.process, self.config.topics
        where = f"{names(topics.prefix).examples} at {topics.bootstrap}"
        if loop.learner is not None:
            begun = f"checkpoint {loop.base} (version {loop.base_version:,}) in {process.checkpoint_dir}" if loop.base else "nothing"
            return f"learns {where} on {loop.learner.trainer.state.device}, from {begun}"
        return f"stands by: another learner learns {where}" if self.app.unassigned else ""

    async def announce(self, say: Callable[[str], None]) -> None:
        """A service: say what `describe` says whenever that changes, for ever."""
        announced = ""
        while True:
            line = self.describe()
            if line and line != announced:
                say(line)
                announced = line
            await asyncio.sleep(LOOK_S)

    def lag(self) -> int | None:
        """Records of `examples` that are not learned; None where the log's end can't be read."""
        topic, partition = self.loop.place
        if self.log_ends.just_opened(self.loop.place):
            return self.loop.lag(None)
        return self.log_ends.lag(self.loop.place, self.loop.applied, self.app.consumer.highwater(TP(topic, partition)))

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
