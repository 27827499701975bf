"""Segue itself as a recommender of the closed loop: one partition, its learner and its slates, in simulated time.

    records -> Partition.apply -> Learner.apply        request -> tick, where time has passed -> Recommender.recommend

What the live system does in several processes happens here in one, one thing after the other: a request sees all that
was delivered before it. A worker writes ticks after 200 ms of quiet and then every second; the simulated world is quiet
for most of the time, so here one tick stands for all of a silence, at its end: slates close and micro-batches end by it
as they would by the many.
"""
from __future__ import annotations

from collections.abc import Sequence

import msgspec

from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from replay.simulator.carousel import CarouselWorld
from replay.simulator.world import World
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Context, ExposedItem, Exposure, Record, Tick
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import Recommender, RecommendSettings, SlateRequest
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables

QUIET_MS = 200  # after which a worker writes its first tick


class SegueSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a run may set differently."""

    partition: PartitionSettings = PartitionSettings()
    # The world brings an event every few seconds: by 200 ms each would be a step of its own, at 64 times the cost of one
    # example under load. A tick comes before every request, so nothing that is asked for waits for this span.
    learner: LearnerSettings = LearnerSettings(micro_batch_span_ms=60_000)
    model: ModelSettings = ModelSettings()
    recommend: RecommendSettings = RecommendSettings()
    strategy: str | None = None  # of every slate; None = the usual one


class Segue:
    """Call it for a slate; hand `observe` what happened. It knows of the world only its catalog."""

    def __init__(
        self,
        world: World | CarouselWorld,
        seed: int,
        settings: SegueSettings | None = None,
        device: str = "cpu",
        strategy_bandit: StrategyBandit | None = None,
    ) -> None:
        """`strategy_bandit`: what learns of rewards, where pages or slates are requested whose strategy it draws."""
        s = settings or SegueSettings()
        self.seed, self.strategy = seed, s.strategy
        self.catalog, self.catalog_index = Catalog(), CatalogIndex()
        for item in world.catalog():
            self.catalog_index.put(self.catalog.put(item), world.settings.start_ms)
        self.partition = Partition(s.partition, Tables.over(), self.catalog)
        self.learner = Learner(s.learner, Trainer(s.model, device), strategy_bandit or default_strategy_bandit())
        self.recommender = Recommender(s.recommend, s.partition, self.catalog, self.catalog_index)
        self._requests = 0
        self._offset = 0

    def __call__(self, user_id: str, ts: int, k: int, domain: str, context: Context) -> list[ExposedItem]:
        """A slate as of now. Its exposure comes back with the records, as the live one does."""
        exposure = self.serve(user_id, ts, k, domain, context)
        return list(exposure.slots) if exposure is not None else []

    def serve(self, user_id: str, ts: int, k: int, domain: str, context: Context, seen: bool = True) -> Exposure | None:
        """The same, whole; `seen`: whether what is served counts as looked at."""
        self.until(ts)
        self._requests += 1
        request = SlateRequest(user_id=user_id, k=k, domain=domain, context=context, strategy=self.strategy, seen=seen)
        user = self.partition.user(keys.key("user", user_id))
        trainer, bandit = self.learner.trainer, self.learner.strategy_bandit
        model = ModelView(predict=trainer.predict, vectors=trainer.state.towers, version=self.learner.version, bandit=bandit)
        return self.recommender.recommend(request, f"{self._requests}", user, self.partition.item_counts, model, ts, self.seed).exposure

    def until(self, ts: int) -> None:
        """Let time pass up to a request."""
        progress = self.partition.progress
        if ts - progress.watermark_ms >= QUIET_MS and (progress.open_lists or self.learner.has_open_batch):
            self.observe([Tick(ts=ts)])

    def observe(self, records: Sequence[Record]) -> None:
        """Take in and learn what happened."""
        arrived = []
        for record in records:
            arrived.append(Arrived(self._offset, 0, record.ts, record, f"{self._offset}"))
            self._offset += 1
        effects = self.partition.apply(arrived)
        for increment in effects.popularity:
            self.catalog_index.add(increment)
        self.learner.apply(self.partition.number, effects.examples)
        for table in self.partition.tables.named().values():
            table.settle()
