"""Faust apps made by functions, so that a test builds two in one process; and the life of a process around one."""
from __future__ import annotations

import asyncio
import atexit
import gc
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import faust
import msgspec
import xxhash
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.types import TP, EventT

from streams.kafka_io import stored_consumer
from streams.kafka_io.gaps import EmptyOffsets
from streams.kafka_io.topics import FaustSettings, TopicSettings, refused
from streams.watchdog import NeedsOperator, end

ANSWER_S = 5.0  # for the description of the group, where this member may have been fenced
STOP_S = 8.0  # of settling at the end: Ctrl-C has to stop all within 10 s

PROCESS = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(3).hex()}"  # no other has this name

log = logging.getLogger(__name__)


def with_slot(settings: FaustSettings, folder: str) -> FaustSettings:
    """The settings with a slot; the default one is no other host's, and on this one no other folder's.

    >>> [with_slot(FaustSettings(), folder).slot == with_slot(FaustSettings(), "run").slot for folder in ("./run", "other")]
    [True, False]
    """
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64]
    folder_hash = xxhash.xxh3_64_hexdigest(os.fsencode(Path(folder).resolve()))[:8]
    return msgspec.structs.replace(settings, slot=settings.slot or f"{host}-{folder_hash}")


class SlotTakenError(NeedsOperator):
    """Another process is the member that this one would be; the message says which, and what to set."""


class NamedAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]
    """aiokafka's own; each member's subscription names its process. (The client id would not do: of a member that is replaced,
    Kafka keeps the first one's.)"""

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """What a member tells the group."""
        return ConsumerProtocolMemberMetadata(cls.version, list(topics), PROCESS.encode())


setattr(faust.transport.drivers.aiokafka, "RoundRobinPartitionAssignor", NamedAssignor)  # noqa: B010 - what Faust's consumers take


@dataclass
class Membership:
    """Which member of its consumer group a process is.

    A member with a static id is replaced by the next one that joins under the same id: Kafka fences it without saying by whom. Two
    live processes of one slot would so evict each other for ever; the one that is fenced says by whom, and ends.
    """

    bootstrap: str
    group: str
    slot: str
    joined: bool = False
    process: str = PROCESS

    @property
    def instance(self) -> str:
        """The static id."""
        return f"{self.group}-{self.slot}"

    async def check(self) -> None:
        """Raises SlotTakenError where another process has joined under this one's id since."""
        if not self.joined:
            return  # whoever is there was there before: most likely this one's predecessor, which was killed
        try:
            members = await asyncio.wait_for(asyncio.to_thread(self._members), ANSWER_S)
        except Exception as error:  # noqa: BLE001 - whatever it is, to be fenced is not what ends the process then
            log.warning("the members of %s are not known: %s", self.group, str(error) or "no answer in time")
            return
        for member in members:
            told = member["member_metadata"]  # nothing while the group rebalances, or of an earlier version
            other = told["user_data"] if isinstance(told, dict) else ""
            if member["group_instance_id"] == self.instance and other and other != self.process:
                raise SlotTakenError(
                    f"{other} joined {self.group} as slot {self.slot!r}, which is this process's ({self.process}), and fenced it: "
                    "give each process a faust.slot of its own"
                )

    def _members(self) -> list[dict[str, Any]]:
        from kafka import KafkaAdminClient

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap.split(","), request_timeout_ms=int(ANSWER_S * 1000))
        try:
            return list(admin.describe_groups([self.group])[self.group]["members"])
        finally:
            admin.close()


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
            membership.joined = True
            if ready is not None:
                await ready()
            return await handler.assigned(assigned, committed)
        except Exception as error:  # noqa: BLE001 - see above
            end(str(error), error)

    async def revoked(app: faust.App, revoked: Iterable[TP], **kwargs: Any) -> None:
        await handler.revoked(revoked)
        try:
            await membership.check()
        except SlotTakenError as error:
            end(str(error), error)

    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            handler.buffer(event)

    membership = Membership(topics.bootstrap, f"{topics.prefix}-{name}", settings.slot)
    app = _app(membership, topics, settings)
    setattr(app.transport, "Consumer", stored_consumer.consumer(positions, handler.empty))  # noqa: B010 - a class variable for mypy
    app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"))(agent)
    app.on_partitions_revoked.connect(revoked)  # type: ignore[arg-type]
    _quiet("aiokafka")
    return app


def _app(membership: Membership, topics: TopicSettings, settings: FaustSettings) -> faust.App:
    folder = Path(tempfile.gettempdir()) / f"segue-faust-{membership.instance}"  # Faust wants one; nothing is kept in it
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return faust.App(
        membership.group,
        broker=[f"kafka://{at}" for at in topics.bootstrap.split(",")],
        datadir=str(folder),
        broker_client_id=membership.process,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.heartbeat_s,
        broker_rebalance_timeout=settings.session_timeout_s,
        broker_commit_interval=settings.commit_interval_s,
        consumer_group_instance_id=membership.instance,
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
