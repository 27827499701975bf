"""`segue worker`: ingest of `events`, the readers, ticks, and services in the same loop."""
from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from streams.core.join.catalog import Catalog
from streams.core.join.features_view import NO_PARTS
from streams.kafka_io import app as apps
from streams.kafka_io import topics as topics_of
from streams.kafka_io.app import SlotTakenError
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.gaps import LogEnds
from streams.kafka_io.topics import names
from streams.watchdog import NeedsOperator, Watchdog, unmendable
from streams.worker.catalog_reader import CatalogReader
from streams.worker.hold import HeldError, hold
from streams.worker.ingest import Ingest
from streams.worker.owned import OwnedPartition, PartitionOpener
from streams.worker.settings import WorkerSettings
from streams.worker.signals_reader import PopularityReader
from streams.worker.stores import PopularityStore, StoreInUseError
from streams.worker.ticks import Ticks

if TYPE_CHECKING:
    from streams.worker.answers import ServingThread

NEEDS = {
    "events": ("READ", "WRITE"), "catalog": ("READ", "WRITE"), "popularity": ("READ", "WRITE"), "model_updates": ("READ",),
    "exposures": ("WRITE",), "examples": ("WRITE",), "metrics": ("WRITE",), "dead_letter": ("WRITE",),
}  # fmt: skip


STALLED_S = 8.0  # health says it within 10 s


Service = Callable[["Worker"], Awaitable[None]]


class Worker:
    """One worker; its parts are for services to look at. Made inside of a running loop."""

    def __init__(self, settings: WorkerSettings, services: Sequence[Service] = ()) -> None:
        self.settings = s = msgspec.structs.replace(settings, faust=apps.with_slot(settings.faust, settings.stores.data_dir))
        own = f"worker-{settings.faust.slot or '0'}"  # what is of this worker alone, in its folder
        self._slot_lock, self._lock = Path(s.stores.data_dir) / f"{s.topics.prefix}.{own}.lock", -1
        self._services = services
        self.catalog = Catalog()
        self.watchdog = Watchdog(s.ingest.stall_s)
        self.delivery = Delivery(s.topics)
        self.catalog_reader = CatalogReader(s.topics, self.catalog)
        self.popularity: PopularityReader | None = None
        self._popularity_store: PopularityStore | None = None
        if s.topics.partitions > 1:  # else one's own part is all there is
            path = Path(s.stores.data_dir) / names(s.topics.prefix).popularity / own
            try:
                self._popularity_store = PopularityStore(path, s.stores)
            except StoreInUseError as error:
                raise SlotTakenError(f"{error}, or {self._slot_way}") from None
            self.popularity = PopularityReader(s.topics, s.partition, self._popularity_store, self.delivery)
        parts = self.popularity.parts if self.popularity else NO_PARTS
        opener = PartitionOpener(s.topics, s.stores, s.partition, self.catalog, parts)
        self.ingest = Ingest(opener, s.ingest, self.delivery, self.watchdog, s.events.earliest_ts)
        self.log_ends = LogEnds(self.ingest.log, lambda: [(opener.topic, number) for number in self.ingest.owned or (0,)])
        self.ticks = Ticks(s.ticks, self.ingest, self.delivery)
        self.app = apps.build_app("worker", s.topics, s.faust, opener.topic, self.ingest, self._ready)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def ready(self) -> bool:
        """The catalog is whole and partitions are assigned."""
        return self.catalog_reader.reader.caught_up.is_set() and bool(self.ingest.owned)

    @property
    def _slot_way(self) -> str:
        return f"give each worker a slot of its own (this one's is {self.settings.faust.slot!r}; --set faust.slot=1)"

    def stalled(self) -> list[str]:
        """What has not got on for `STALLED_S`; beyond `ingest.stall_s` the watchdog ends the process."""
        return self.watchdog.stalled() or self.ingest.stalled(STALLED_S)

    def lag(self, owned: OwnedPartition) -> int | None:
        """Records of a partition that are in the log and not in its state; None where the log's end can't be read."""
        place = owned.tp.topic, owned.number
        if self.log_ends.just_opened(place):
            return self.ingest.lag(owned)
        return self.log_ends.lag(place, owned.store.stored, self.app.consumer.highwater(owned.tp))

    def serve(self, serving: ServingThread) -> None:
        """Have it get every item and event. A service calls this before it waits for anything: then none is missed."""
        self.catalog_reader.serving = self.ingest.serving = serving
        if self.popularity is not None and self._popularity_store is not None:
            serving.seed_popularity(self._popularity_store.rows("popularity"), self._popularity_store.rows("co_listening"))
            self.popularity.serving = serving

    async def start(self) -> None:
        """In this order: slot held, topics checked, producer, services, readers, agent.

        Raises SlotTakenError where another worker of the folder is the same member of the group, NeedsOperator where the folder is in
        the way.
        """
        try:
            self._lock = hold(self._slot_lock)
        except HeldError as holder:
            folder = self.settings.stores.data_dir
            raise SlotTakenError(f"{holder} is a worker in {folder} already, as this one would be: stop it, or {self._slot_way}") from None
        except OSError as error:
            raise NeedsOperator(unmendable(error) or str(error)) from error
        await asyncio.to_thread(topics_of.await_created, self.settings.topics, NEEDS)
        self.watchdog.start()
        await self.delivery.start()
        await self.ingest.start()
        self._tasks = apps.start_services(self, self._services)
        readers = [self.catalog_reader.reader] + ([self.popularity.reader] if self.popularity else [])
        runs = [*(r.run for r in readers), self.ingest.run, self.ticks.run, self.log_ends.run]
        self._tasks += [asyncio.create_task(run()) for run in runs]
        self.app.finalize()
        await self.app.start()
        self.ingest.consumer = self.app.consumer

    async def stop(self) -> None:
        """Settle what is committed, leave the group, close all."""
        await apps.cancel(self._tasks)
        await self.ingest.stop()
        await self.app.stop()
        await self.delivery.stop()
        if self._popularity_store is not None:
            self._popularity_store.close()
        self.watchdog.stop()
        if self._lock >= 0:
            os.close(self._lock)

    async def _ready(self) -> None:
        self.ingest.consumer = self.app.consumer
        await self.catalog_reader.whole()  # an example's item features are those of the catalog as it stands


def run_worker(settings: WorkerSettings, services: Sequence[Service] = ()) -> None:
    """Run until SIGTERM or Ctrl-C. `services` run in the worker's loop, from before the first record on."""
    apps.run(lambda: Worker(settings, services))
