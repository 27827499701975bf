"""What Prometheus reads of a worker and of the learner. Figures that live elsewhere are looked up when it asks.

Labels are bounded: routes, reasons and partitions are, ids never become one.
"""
from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from faust.types import TP
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from online_model.features import POPULARITY_HALF_LIVES_H, TASKS
from online_model.gate_watch import GATES
from streams.core.join.events import Reason
from streams.http.entrance import Entrance, Receive, Refusal, Scope, Send, respond
from streams.http.server import CantListen, address, bind, serve
from streams.http.settings import ExporterSettings
from streams.kafka_io.topics import names

if TYPE_CHECKING:
    from streams.core.learning.learn import Learner
    from streams.core.learning.strategy_bandit import StrategyBandit
    from streams.learner.process import LearnerProcess
    from streams.worker.process import Worker
    from streams.worker.replica import Replica

CONTENT_TYPE = "text/plain; version=0.0.4"  # of the format; the text is ASCII
ROUTES = (
    "/v1/recommendations", "/v1/pages", "/v1/events", "/v1/items", "/healthz", "/readyz", "/metrics", "/docs", "/docs/openapi.json",
)  # fmt: skip
OF_ONE = ("/v1/items/{item_id}", "/v1/explain/{request_id}")  # what differs from one request to the next stands at their end
SECONDS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # of a request; DESIGN section 10: 10 and 25 ms
FRESHNESS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 30.0)  # DESIGN section 10: 300 ms and 1 s
REJECTED = "rejected:"  # begins the core's counts of rejections

log = logging.getLogger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads


class WorkerMetrics:
    """Of one worker. Counts of partitions are of all that was ever taken in, restarts included."""

    def __init__(self, worker: Worker, model: Replica) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("segue_requests", "requests answered", ["route", "status"], registry=r)
        self.request_seconds = Histogram("segue_request_seconds", "time of a request", ["route"], buckets=SECONDS, registry=r)
        self.in_flight = Gauge("segue_requests_in_flight", "requests under way", registry=r)
        self.answers = Counter("segue_answers", "lists served", ["strategy"], registry=r)
        self.pages = Counter("segue_pages", "pages served", ["strategy"], registry=r)
        self.flags = Counter("segue_answer_flags", "lists and pages served with a flag", ["flag"], registry=r)
        self.taken = Counter("segue_taken", "accepted over HTTP", ["what"], registry=r)
        self.refused = Counter("segue_refused", "not accepted over HTTP, by reason", ["reason"], registry=r)
        self.freshness = Histogram("segue_freshness_seconds", "append of an act to a version with it", buckets=FRESHNESS, registry=r)
        self._measured = 0
        for reason in Reason:
            self.refused.labels(reason)
        r.register(_WorkerFigures(worker, model))
        ProcessCollector(registry=r)
        self._model = model

    def seen(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        name = route(path)
        self.requests.labels(name, str(status)).inc()
        self.request_seconds.labels(name).observe(seconds)

    def text(self) -> bytes:
        """All of it."""
        new = self._model.measured - self._measured
        self._measured = self._model.measured
        fresh = self._model.freshness_ms
        for n in range(max(len(fresh) - new, 0), len(fresh)):
            self.freshness.observe(fresh[n] / 1000)
        return generate_latest(self.registry)


def route(path: str) -> str:
    """A path without what differs from one request to the next."""
    for of in OF_ONE:
        if path.startswith(of.partition("{")[0]):
            return of
    return path if path in ROUTES else "other"


class _WorkerFigures(Collector):
    def __init__(self, worker: Worker, model: Replica) -> None:
        self._worker, self._model = worker, model

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        worker, model = self._worker, self._model
        counted = CounterMetricFamily("segue_records", "records of events taken in, by what became of them", labels=["partition", "what"])
        rejected = CounterMetricFamily("segue_rejected", "records of events that were not used", labels=["partition", "reason"])
        log = CounterMetricFamily("segue_log", "what was odd in the log itself", labels=["partition", "what"])
        lag = GaugeMetricFamily("segue_lag_records", "records in the log and not in the state", labels=["partition"])
        watermark = GaugeMetricFamily("segue_watermark_seconds", "event time of a partition", labels=["partition"])
        lists = GaugeMetricFamily("segue_open_lists", "lists whose join window has not closed", labels=["partition"])
        for number, owned in sorted(worker.ingest.owned.items()):
            at, progress = str(number), owned.core.progress
            for what, n in sorted(progress.counted.items()):
                if what.startswith(REJECTED):
                    rejected.add_metric([at, what.removeprefix(REJECTED)], n)
                else:
                    counted.add_metric([at, what], n)
            for what, n in sorted(owned.counted.items()):
                log.add_metric([at, what], n)
            end = worker.app.consumer.highwater(owned.tp)
            lag.add_metric([at], max((end or 0) - owned.store.stored - 1, 0))
            watermark.add_metric([at], progress.watermark_ms / 1000)
            lists.add_metric([at], progress.open_lists)
        yield from (counted, rejected, log, lag, watermark, lists)
        yield _counter("segue_flushes", "flushes of state", worker.ingest.flushes)
        yield _gauge("segue_unsent_records", "effects that Kafka has not acknowledged", worker.ingest.unsent)
        yield _counter("segue_ticks", "ticks written", worker.ticks.written)
        yield _gauge("segue_catalog_items", "items in the catalog", len(worker.catalog))
        yield _counter("segue_catalog_rejected", "records of the catalog that are no items", worker.catalog_reader.rejected)
        yield _gauge("segue_ready", "1 if requests can be answered", worker.ready)
        yield _gauge("segue_model_version", "version that answers; -1 without a model", -1 if model.version is None else model.version)
        yield _gauge("segue_model_age_seconds", "since the learner was last heard of", model.age_ms / 1000)
        yield _gauge("segue_model_stale", "1 if answers are flagged stale", model.version is not None and model.stale)
        yield _counter("segue_model_loads", "checkpoints loaded", model.loads)
        yield _counter("segue_model_deltas", "deltas applied", model.applied)


class LearnerMetrics:
    """Of one learner. Counts of records are of all it ever learned, restarts included."""

    def __init__(self, process: LearnerProcess) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_LearnerFigures(process))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)


class _LearnerFigures(Collector):
    def __init__(self, process: LearnerProcess) -> None:
        self._process = process

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        loop = self._process.loop
        learner = loop.learner
        counted: Mapping[str, int] = dict(learner.counted) if learner is not None else {}
        records = CounterMetricFamily("segue_learned", "records of examples, by what they were or what became of them", labels=["what"])
        for what, n in sorted(counted.items()):
            records.add_metric([what], n)
        yield records
        yield _gauge("segue_learner", "1 of the learner, 0 of a standby", learner is not None)
        yield _gauge("segue_learner_epoch", "of its reign", loop.epoch)
        yield _gauge("segue_learner_version", "of the model; -1 of a standby", learner.version if learner is not None else -1)
        end = self._process.app.consumer.highwater(TP(names(self._process.config.topics.prefix).examples, 0)) if learner is not None else 0
        yield _gauge("segue_learner_lag_records", "records of examples that are not learned", max((end or 0) - loop.applied - 1, 0))
        yield _gauge("segue_learner_watermark_seconds", "event time", learner.watermark_ms / 1000 if learner is not None else -1)
        yield _counter("segue_learner_published", "deltas published", loop.publisher.deltas)
        yield _counter("segue_learner_acts", "acts in versions published", loop.publisher.acts)
        yield _counter("segue_learner_checkpoints", "checkpoints saved", loop.checkpoints.written)
        if learner is not None:
            yield from _watched(learner)
            yield from _chosen(learner.strategy_bandit)


def _chosen(strategy_bandit: StrategyBandit) -> Iterator[Metric]:
    """Of each surface; strategies are at most MAX_ARMS."""
    rewards = CounterMetricFamily("segue_rewards", "lists whose strategy was chosen, by what was learned", labels=["surface", "what"])
    alarms = CounterMetricFamily("segue_strategy_alarms", "times that what a strategy earns has changed", labels=["surface"])
    weight = GaugeMetricFamily("segue_revenue_weight", "of revenue against experience, in the choice of a strategy", labels=["surface"])
    chance = GaugeMetricFamily("segue_strategy_chance", "mean chance with which it was chosen lately", labels=["surface", "strategy"])
    for surface, policy in strategy_bandit.policies.items():
        counted = dict(strategy_bandit.counted[surface])
        alarms.add_metric([surface], counted.pop("alarms"))
        weight.add_metric([surface], policy.floor.weight)
        for what, n in counted.items():
            rewards.add_metric([surface, what], n)
        for strategy, share in strategy_bandit.recent_probabilities(surface).items():
            chance.add_metric([surface, strategy], share)
    yield from (rewards, alarms, weight, chance)


def _watched(learner: Learner) -> Iterator[Metric]:
    gates = learner.gates
    yield _by("segue_gate_entropy", "of a task's gate over experts, nats; over five minutes", "task", GATES, gates.entropy.tolist())
    yield _by("segue_expert_share", "of the gates that may use an expert; over five minutes", "expert", gates.experts, gates.share.tolist())
    alarms = CounterMetricFamily("segue_expert_alarms", "times that an expert was neglected for an hour", labels=["expert"])
    for expert, n in zip(gates.experts, gates.alarms.tolist(), strict=True):
        alarms.add_metric([expert], n)
    yield alarms
    drifts = CounterMetricFamily("segue_drift_alarms", "times that what happens left what was predicted", labels=["task", "domain"])
    for task, row in zip(TASKS, learner.drift.alarms.tolist(), strict=True):
        for place, n in enumerate(row):
            drifts.add_metric([task, str(place)], n)
    yield drifts
    hours = [f"{h:g}" for h in POPULARITY_HALF_LIVES_H]
    r2 = learner.identified
    yield _by("segue_popularity_r2", "share of log popularity's variance between items", "half_life_h", hours, r2[:-1])
    yield _gauge("segue_popularity_unidentified", "1 if popularity's effect can't be told from items' quality", r2[-1])


def _by(name: str, says: str, label: str, values: Sequence[str], figures: Sequence[float]) -> Metric:
    family = GaugeMetricFamily(name, says, labels=[label])
    for value, figure in zip(values, figures, strict=True):
        family.add_metric([value], float(figure))
    return family


class Exporter:
    """A service of the learner: /metrics and /healthz on a port of its own."""

    def __init__(self, settings: ExporterSettings) -> None:
        self._settings = settings
        self.address: tuple[str, int] | None = None  # host and port, once bound

    async def __call__(self, process: LearnerProcess) -> None:
        s, metrics = self._settings, LearnerMetrics(process)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            match scope["path"]:
                case "/metrics":
                    await respond(send, 200, CONTENT_TYPE, metrics.text())
                case "/healthz":
                    await respond(send, 503 if process.watchdog.stalled() else 200, "application/json", b"{}")
                case path:
                    nothing = Refusal(404, f"there is nothing at {path}", "the path", "read /metrics or /healthz")
                    await respond(send, nothing.status, "application/json", nothing.body)

        try:
            bound = bind(s.host, s.port, "exporter")
        except CantListen as error:
            log.warning("the learner goes on without metrics: %s", error)
            return
        self.address = address(bound)
        await serve(Entrance(app, s.token), bound)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(name, says, value=float(value))


def _counter(name: str, says: str, value: float) -> Metric:
    return CounterMetricFamily(name, says, value=float(value))
