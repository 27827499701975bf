"""Faust apps made by functions, so that a test builds two in one process; and the life of a process around one."""
from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import faust
import msgspec
from faust.types import TP, EventT

from streams.kafka_io import drain
from streams.kafka_io.committed import CommittedThread
from streams.kafka_io.drain import DrainedConsumer
from streams.kafka_io.gaps import EmptyOffsets
from streams.kafka_io.topics import TopicSettings, refused
from streams.watchdog import end

STOP_S = 8.0  # of settling at the end: Ctrl-C has to stop all within 10 s

log = logging.getLogger(__name__)


class FaustSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a process takes part in its consumer group."""

    session_timeout_s: float = 10.0  # a dead worker's partitions stand still this long
    heartbeat_s: float = 1.0
    commit_interval_s: float = 0.5  # commits only shorten what is read again: the store is the truth
    stream_buffer_records: int = 65_536  # below it, pausing and resuming partitions costs half of the rate
    slot: str = "0"  # of this process: unique among live ones of a group, the same after a restart (then it rejoins in 2 s)


class PartitionHandler(Protocol):
    """What stands behind an agent: `Ingest` of events, `LearningLoop` of examples."""

    @property
    def empty(self) -> EmptyOffsets:
        """What the consumer tells of offsets without a record."""

    async def assigned(self, tps: Iterable[TP], committed: Mapping[TP, int | None]) -> Mapping[TP, int]:
        """Open these partitions; where to read each from."""

    async def revoked(self, tps: Iterable[TP]) -> None:
        """Settle these partitions and give them up."""

    def buffer(self, event: EventT[Any]) -> None:
        """Keep a record until it is applied and acknowledged."""


def build_app(
    name: str, topics: TopicSettings, settings: FaustSettings, topic: str, handler: PartitionHandler,
    ready: Callable[[], Awaitable[None]] | None = None,
) -> faust.App:  # fmt: skip
    """An app with one agent, over `topic`: every record goes to the handler's buffer, unacknowledged.

    `ready` and then `handler.assigned` are awaited before the first record comes: what they open and send is settled by
    then. An error of theirs ends the process, since Faust would log it and go on without the state.
    """

    async def positions(assigned: Iterable[TP], committed: Mapping[TP, int | None]) -> Mapping[TP, int]:
        try:
            if ready is not None:
                await ready()
            return await handler.assigned(assigned, committed)
        except Exception as error:  # noqa: BLE001 - see above
            end(str(error), error)

    async def revoked(app: faust.App, revoked: Iterable[TP], **kwargs: Any) -> None:
        await handler.revoked(revoked)

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            handler.buffer(event)

    app = _app(name, topics, settings)
    setattr(app.transport, "Consumer", _consumer(positions, handler.empty))  # noqa: B010 - a class variable for mypy
    app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"))(agent)
    app.on_partitions_revoked.connect(revoked)  # type: ignore[arg-type]
    _quiet("aiokafka")
    return app


def _app(name: str, topics: TopicSettings, settings: FaustSettings) -> faust.App:
    group = f"{topics.prefix}-{name}"
    folder = Path(tempfile.gettempdir()) / f"segue-faust-{group}-{settings.slot}"  # Faust wants one; nothing is kept in it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return faust.App(
        group,
        broker=[f"kafka://{at}" for at in topics.bootstrap.split(",")],
        datadir=str(folder),
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=settings.session_timeout_s,
        broker_commit_interval=settings.commit_interval_s,
        consumer_group_instance_id=f"{group}-{settings.slot}",
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=settings.stream_buffer_records,
        stream_wait_empty=False,  # with one record not acknowledged a stop would hang
        topic_disable_leader=True,
        topic_allow_declare=False,
        table_standby_replicas=0,
        web_enabled=False,
        autodiscover=False,
        worker_redirect_stdouts=False,
        logging_config=None,
    )


def _quiet(package: str) -> None:
    for name in [n for n in logging.root.manager.loggerDict if n == package or n.startswith(package + ".")]:
        logger = logging.getLogger(name)
        if not any(isinstance(f, Throttle) for f in logger.filters):
            logger.addFilter(Throttle())


Positions = Callable[[Iterable[TP], Mapping[TP, int | None]], Awaitable[Mapping[TP, int]]]


def _consumer(positions: Positions, empty: EmptyOffsets) -> type[faust.transport.drivers.aiokafka.Consumer]:
    differs = drain.unknown()
    if differs:
        log.warning("Faust runs at half of its speed: its drain is not changed, since %s", "; ".join(differs))
    base: Any = faust.transport.drivers.aiokafka.Consumer if differs else DrainedConsumer

    class StoredConsumer(base):  # type: ignore[misc]
        """Reads from where the store stands, not from where the group has committed; committed transactions only."""

        def _new_consumer_thread(self) -> CommittedThread:
            thread = CommittedThread(self, loop=self.loop, beacon=self.beacon)
            thread.empty = empty
            return thread

        async def perform_seek(self) -> None:
            await super().perform_seek()
            assigned = self.assignment()
            begin = await positions(assigned, {tp: self._committed_offset[tp] for tp in assigned})
            empty.begin(begin.items())
            for tp, offset in begin.items():
                await self.seek(tp, offset)
                self._committed_offset[tp] = offset  # else the first acknowledgement would look like a gap

        async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
            """Keep no gaps: Faust sorts all it has for each new one, 10 ms where there are a thousand."""

        def _new_offset(self, tp: TP) -> int | None:
            """What to commit: behind the newest acknowledged record. Ours are acknowledged in order, so none before it is open."""
            acknowledged = self._acked[tp]
            newest = max(acknowledged, default=-1)
            acknowledged.clear()
            self._acked_index[tp].clear()
            return newest + 1 if newest >= 0 else None

    return StoredConsumer


class Process(Protocol):
    """A worker or a learner."""

    app: faust.App

    async def start(self) -> None:
        """Start all parts."""

    async def stop(self) -> None:
        """Settle and stop all parts."""


P = TypeVar("P")


def start_services(process: P, services: Iterable[Callable[[P], Awaitable[None]]]) -> list[asyncio.Task[None]]:
    """Run services beside the process. One that fails ends it: a process without its service looks alive and isn't."""

    async def run_service(service: Callable[[P], Awaitable[None]]) -> None:
        try:
            await service(process)
        except Exception as error:  # noqa: BLE001 - see above
            end(f"a service of the {type(process).__name__} failed", error)

    return [asyncio.create_task(run_service(service)) for service in services]


async def cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def run(build: Callable[[], Process]) -> None:
    """Build a process in an event loop and run it until SIGTERM or Ctrl-C; then settle, within `STOP_S`."""
    asyncio.run(_run(build))


async def _run(build: Callable[[], Process]) -> None:
    process = build()
    gc.set_threshold(100_000, 20, 100)  # states are small objects without cycles; looking for some took a fifth of the time
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    starting, stopping = asyncio.create_task(process.start()), asyncio.create_task(stopped.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)  # a start may wait for its broker for ever
    if starting.done():
        await starting
        crash = asyncio.create_task(_crashed(process.app))
        await stopping
        crash.cancel()
    try:
        async with asyncio.timeout(STOP_S):
            await starting
            await process.stop()
    except TimeoutError:  # its broker is gone, say: as a kill, from which the next start goes on exactly
        log.warning("not all could be settled within %.0f s; the next start does it", STOP_S)
        logging.shutdown()
        os._exit(0)


async def _crashed(app: faust.App) -> None:
    await app.wait_until_stopped()
    error = app.crash_reason
    end("Faust stopped by itself", refused(", ".join(map(str, app.conf.broker)), error) or error)


class Throttle(logging.Filter):
    """Lets one line of each place in the code through every 5 s: without its broker a client logs 75 errors a second."""

    def __init__(self, every_s: float = 5.0) -> None:
        super().__init__()
        self._every_s = every_s
        self._last: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        place, now = (record.pathname, record.lineno), time.monotonic()
        if now - self._last.get(place, -self._every_s) < self._every_s:
            return False
        self._last[place] = now
        return True
