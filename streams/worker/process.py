"""`segue worker`: the agent of `events`, the readers, ticks, and what else shall live in its loop."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
import msgspec
from faust.types import TP

from streams.core.join.catalog import Catalog
from streams.core.join.features_view import NO_PARTS
from streams.core.join.settings import PartitionSettings
from streams.kafka_io import app as apps
from streams.kafka_io import topics as topics_of
from streams.kafka_io.app import FaustSettings
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.topics import TopicSettings, names
from streams.watchdog import Watchdog, end
from streams.worker.catalog_reader import CatalogReader
from streams.worker.ingest import Ingest, IngestSettings
from streams.worker.signals_reader import PopularityReader
from streams.worker.stores import PopularityStore, StoreSettings
from streams.worker.ticks import Ticks, TickSettings

if TYPE_CHECKING:
    from streams.worker.answers import Answers


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All that a worker runs by."""

    topics: TopicSettings = TopicSettings()
    stores: StoreSettings = StoreSettings()
    partition: PartitionSettings = PartitionSettings()
    ingest: IngestSettings = IngestSettings()
    ticks: TickSettings = TickSettings()
    faust: FaustSettings = FaustSettings()


Service = Callable[["Worker"], Awaitable[None]]


class Worker:
    """One worker; its parts are for services to look at. Made inside of a running loop."""

    def __init__(self, settings: WorkerSettings, services: Sequence[Service] = ()) -> None:
        self.settings = s = settings
        self._services = services
        self.catalog = Catalog()
        self.watchdog = Watchdog(s.ingest.stall_s)
        self.delivery = Delivery(s.topics)
        self.catalog_reader = CatalogReader(s.topics, self.catalog)
        self.popularity: PopularityReader | None = None
        self._popularity_store: PopularityStore | None = None
        if s.topics.partitions > 1:  # else one's own part is all there is
            path = Path(s.stores.data_dir) / names(s.topics.prefix).popularity / f"worker-{s.faust.slot}"
            self._popularity_store = PopularityStore(path, s.stores)
            self.popularity = PopularityReader(s.topics, s.partition, self._popularity_store)
        foreign = self.popularity.parts if self.popularity else NO_PARTS
        self.ingest = Ingest(s.topics, s.stores, s.partition, s.ingest, self.catalog, foreign, self.delivery, self.watchdog)
        self.ticks = Ticks(s.ticks, self.ingest, self.delivery)
        self.app = self._build()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """The catalog is whole and partitions are assigned."""
        return self.catalog_reader.reader.caught_up.is_set() and bool(self.ingest.owned)

    def tell(self, answers: Answers) -> None:
        """Have it hear of every item and event. A service calls this before it waits for anything: then it misses none."""
        self.catalog_reader.answers = self.ingest.answers = answers
        if self.popularity is not None and self._popularity_store is not None:
            answers.begin(self._popularity_store.rows("popularity"), self._popularity_store.rows("co_listening"))
            self.popularity.answers = answers

    async def start(self) -> None:
        """In this order: topics checked, producer, services, readers, agent."""
        await asyncio.to_thread(topics_of.create, self.settings.topics)
        self.watchdog.start()
        await self.delivery.start()
        await self.ingest.start()
        self._tasks = [asyncio.create_task(_lasting(service, self)) for service in self._services]
        readers = [self.catalog_reader.reader] + ([self.popularity.reader] if self.popularity else [])
        self._tasks += [asyncio.create_task(r.run()) for r in readers]
        self._tasks += [asyncio.create_task(self.ingest.run()), asyncio.create_task(self.ticks.run())]
        self.app.finalize()
        await self.app.start()
        self.ingest.consumer = self.app.consumer

    async def stop(self) -> None:
        """Settle what is committed, leave the group, close all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.ingest.stop()
        await self.app.stop()
        await self.delivery.stop()
        if self._popularity_store is not None:
            self._popularity_store.close()
        self.watchdog.stop()

    def _build(self) -> faust.App:
        app = apps.build_app("worker", self.settings.topics, self.settings.faust, self._positions)
        topic = app.topic(names(self.settings.topics.prefix).events, key_serializer="raw", value_serializer="raw")

        async def events(stream: Any) -> None:
            await apps.consume(stream, self.ingest)

        app.agent(topic)(events)
        app.on_partitions_revoked.connect(self._revoked)  # type: ignore[arg-type]
        return app

    async def _positions(self, assigned: Iterable[TP], committed: Mapping[TP, int | None]) -> Mapping[TP, int]:
        try:
            self.ingest.consumer = self.app.consumer
            await self.catalog_reader.reader.caught_up.wait()  # an example's item features are those of the catalog as it stands
            return await self.ingest.assigned(assigned, committed)
        except Exception as error:  # noqa: BLE001 - Faust would log it and go on without the store
            end(str(error), error)

    async def _revoked(self, app: Any, revoked: Iterable[TP], **kwargs: Any) -> None:
        await self.ingest.revoked(revoked)


def run_worker(settings: WorkerSettings, services: Sequence[Service] = ()) -> None:
    """Run until SIGTERM or Ctrl-C. `services` run in the worker's loop, from before the first record on."""
    asyncio.run(_run(settings, services))


async def _run(settings: WorkerSettings, services: Sequence[Service]) -> None:
    await apps.run(Worker(settings, services))


async def _lasting(service: Service, worker: Worker) -> None:
    try:
        await service(worker)
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - a worker without its service looks alive and isn't
        end("a service of the worker failed", error)
