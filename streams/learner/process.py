"""`segue learner`: the agent of `examples`, and what else shall live in its loop."""
from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from faust.types import TP

from streams.kafka_io import app as apps
from streams.kafka_io import topics as topics_of
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.topics import names
from streams.learner.loop import LearningLoop, LearningSettings
from streams.watchdog import Watchdog, end

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
        self.app = apps.build_app("learner", config.topics, config.faust, self._positions)
        topic = self.app.topic(names(config.topics.prefix).examples, key_serializer="raw", value_serializer="raw")

        async def examples(stream: Any) -> None:
            await apps.consume(stream, self.loop)

        self.app.agent(topic)(examples)
        self.app.on_partitions_revoked.connect(self._revoked)

    async def start(self) -> None:
        """In this order: topics checked, producer, agent; beside them the learner is loaded, which takes longest."""
        self.loop.load()
        await asyncio.to_thread(topics_of.create, self.config.topics)
        self.watchdog.start()
        await self.delivery.start()
        await self.loop.start()
        self.app.finalize()
        await self.app.start()
        gc.freeze()  # all that a collection would look through in vain from now on
        gc.enable()
        self._tasks = [asyncio.create_task(_lasting(service, self)) for service in self._services]

    async def stop(self) -> None:
        """Save, acknowledge, leave the group."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.loop.stop()
        await self.app.stop()
        await self.delivery.stop()
        self.watchdog.stop()

    async def _positions(self, assigned: Iterable[TP], committed: Mapping[TP, int | None]) -> Mapping[TP, int]:
        try:
            return await self.loop.assigned(assigned, committed)
        except Exception as error:  # noqa: BLE001 - Faust would log it and go on without the state
            end(str(error), error)

    async def _revoked(self, *args: Any, **kwargs: Any) -> None:
        await self.loop.revoked()


def run_learner(config: LearningSettings, services: Sequence[Service] = ()) -> None:
    """Run until SIGTERM or Ctrl-C. `services` are started in its loop."""
    gc.disable()  # until it has started: what is imported and loaded by then is no garbage, and looking takes an eighth of the time
    asyncio.run(_run(config, services))


async def _run(config: LearningSettings, services: Sequence[Service]) -> None:
    await apps.run(LearnerProcess(config, services))


async def _lasting(service: Service, process: LearnerProcess) -> None:
    try:
        await service(process)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - a learner without its service looks alive and isn't
        end("a service of the learner failed", error)
