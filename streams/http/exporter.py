"""The Prometheus metrics of a worker and of the learner. Figures that live elsewhere are looked up at each scrape.

Labels are bounded: routes, reasons and partitions. No id ever becomes a label.
"""
from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily as Counters
from prometheus_client.core import GaugeMetricFamily as Gauges
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from online_model.features import POPULARITY_HALF_LIVES_H, TASKS
from online_model.gate_watch import GATES
from streams.clock import now_ms
from streams.core.join.admission import rows_are_stale
from streams.core.join.events import Reason
from streams.core.serving.recommend import Slate
from streams.core.serving.requests import Flag
from streams.http.contracts import PATHS, Health
from streams.http.entrance import Entrance, Json, Refusal
from streams.http.server import CantListen, address, bind, serve
from streams.http.settings import ExporterSettings

if TYPE_CHECKING:
    from streams.core.learning.learn import Learner
    from streams.core.learning.strategy_bandit import StrategyBandit
    from streams.core.serving.pages import Page
    from streams.core.serving.scoring import SlateItem
    from streams.learner.process import LearnerProcess
    from streams.worker.process import Worker
    from streams.worker.replica import Replica

CONTENT_TYPE = "text/plain; version=0.0.4"  # of the format; the text is ASCII
SECONDS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)  # of a request; DESIGN section 10: 10 and 25 ms
SPREAD = (0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # of scores; by the default weights they are within 6 of each other
FRESHNESS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 30.0)  # DESIGN section 10: 300 ms and 1 s
SKIPPED = "records of Segue's own topics that are none of Segue's"
REJECTED = "rejected:"  # begins the core's counts of rejections

log = logging.getLogger(__name__)
Family = TypeVar("Family", Counters, Gauges)
Labels = TypeVar("Labels", bound=tuple[str, ...])

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nobody reads


class WorkerMetrics:
    """Of one worker. Counts of partitions are of all that was ever taken in, restarts included."""

    def __init__(self, worker: Worker, model: Replica) -> None:
        self._registry = r = _registry(lambda: _of_worker(worker, model))
        self.requests = Counter("segue_requests", "requests answered", ["route", "status"], registry=r)
        self.request_seconds = Histogram("segue_request_seconds", "time of a request", ["route"], buckets=SECONDS, registry=r)
        self.in_flight = Gauge("segue_requests_in_flight", "requests under way", registry=r)
        self.answers = Counter("segue_answers", "lists served", ["strategy"], registry=r)
        self.pages = Counter("segue_pages", "pages served", ["strategy"], registry=r)
        self.repeated = Counter("segue_repeated_requests", "lists and pages answered as before", registry=r)
        self.flags = Counter("segue_answer_flags", "lists and pages served with a flag", ["flag"], registry=r)
        self.spread = Histogram("segue_score_spread", "best less worst score of a model", ["surface"], buckets=SPREAD, registry=r)
        self.taken = Counter("segue_taken", "accepted over HTTP", ["what"], registry=r)
        self.refused = Counter("segue_refused", "not accepted over HTTP, by reason", ["reason"], registry=r)
        self.freshness = Histogram("segue_freshness_seconds", "append of an act to a version with it", buckets=FRESHNESS, registry=r)
        self._measured = 0
        for reason in Reason:
            self.refused.labels(reason)
        self._model = model

    def seen(self, method: str, path: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        name = route(path)
        self.requests.labels(name, str(status)).inc()
        self.request_seconds.labels(name).observe(seconds)

    def observe(self, served: Slate | Page) -> None:
        """A list or a page has been made. A dry run is none that was served."""
        for flag in served.flags:
            self.flags.labels(flag).inc()
        if Flag.DRY_RUN in served.flags:
            return
        if isinstance(served, Slate):
            self.answers.labels(served.strategy).inc()
            self._observe_spread("list", served.items)
        else:
            self.pages.labels(served.strategy).inc()
            for module in served.modules:
                self._observe_spread("page", module.items)

    def _observe_spread(self, surface: str, items: Sequence[SlateItem]) -> None:
        scores = [item.score for item in items if item.probabilities is not None]
        if len(scores) > 1:
            self.spread.labels(surface).observe(max(scores) - min(scores))

    def text(self) -> bytes:
        """All metrics as Prometheus reads them."""
        new = self._model.measured - self._measured
        self._measured = self._model.measured
        fresh = self._model.freshness_ms
        for n in range(max(len(fresh) - new, 0), len(fresh)):
            self.freshness.observe(fresh[n] / 1000)
        return generate_latest(self._registry)


def route(path: str) -> str:
    """A path without what differs from one request to the next: the id at its end.

    >>> route("/v1/items/so-what"), route("/v1/items"), route("/anything")
    ('/v1/items/{item_id}', '/v1/items', 'other')
    """
    for known in PATHS:
        before, _, name = known.partition("{")
        if path == known or (name and path.startswith(before)):
            return known
    return "other"


class _Figures(Collector):
    """Figures that live elsewhere, looked up when Prometheus asks."""

    def __init__(self, look_up: Callable[[], Iterable[Metric]]) -> None:
        self._look_up = look_up

    def collect(self) -> Iterable[Metric]:
        """As they are now."""
        return self._look_up()


def _registry(look_up: Callable[[], Iterable[Metric]]) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Figures(look_up))
    ProcessCollector(registry=registry)
    return registry


def _by(kind: type[Family], name: str, says: str, labels: Sequence[str], figures: Mapping[Labels, float]) -> Family:
    """A metric with labels, by their values."""
    family = kind(name, says, labels=labels)
    for values, figure in figures.items():
        family.add_metric(values, figure)
    return family


def _of_worker(worker: Worker, model: Replica) -> Iterator[Metric]:
    by_partition = {str(number): owned for number, owned in sorted(worker.ingest.owned.items())}
    progress = {(at,): owned.core.progress for at, owned in by_partition.items()}
    counted = {(at, what): n for (at,), p in progress.items() for what, n in sorted(p.counted.items())}
    rejected = {(at, what.removeprefix(REJECTED)): counted.pop((at, what)) for at, what in list(counted) if what.startswith(REJECTED)}
    log = {(at, what): n for at, owned in by_partition.items() for what, n in sorted(owned.counted.items())}
    lag = {(at,): lag for at, owned in by_partition.items() if (lag := worker.lag(owned)) is not None}
    behind = worker.ingest.catching_up()
    catching_up = {(at,): owned.number in behind for at, owned in by_partition.items()}
    watermarks = {at: p.watermark_ms / 1000 for at, p in progress.items()}
    open_lists = {at: p.open_lists for at, p in progress.items()}
    yield _by(Counters, "segue_records", "records of events taken in, by what became of them", ["partition", "what"], counted)
    yield _by(Counters, "segue_rejected", "records of events that were not used", ["partition", "reason"], rejected)
    yield _by(Counters, "segue_log", "what was odd in the log itself", ["partition", "what"], log)
    yield _by(Gauges, "segue_lag_records", "records in the log and not in the state", ["partition"], lag)
    yield _by(Gauges, "segue_catching_up", "1 while the state is far behind the log", ["partition"], catching_up)
    yield _by(Gauges, "segue_watermark_seconds", "event time of a partition", ["partition"], watermarks)
    stale = {(at,): rows_are_stale(p, now_ms()) for (at,), p in progress.items()}
    yield _by(Gauges, "segue_stale_rows", "1 for a day after event time has jumped by more than one", ["partition"], stale)
    unapplied = {(at,): len(owned.unapplied) for at, owned in by_partition.items()}
    forgotten = {(at,): owned.unapplied.forgotten for at, owned in by_partition.items()}
    yield _by(Gauges, "segue_open_lists", "lists whose join window has not closed", ["partition"], open_lists)
    yield _by(Gauges, "segue_unapplied_records", "served or taken over HTTP, and not yet in the state", ["partition"], unapplied)
    yield _by(Counters, "segue_unapplied_forgotten", "of these, those that were too many to be kept", ["partition"], forgotten)
    skipped = {(own.topic,): own.skipped for own in ([worker.popularity.own] if worker.popularity else []) + [model.own]}
    yield _by(Counters, "segue_skipped", SKIPPED, ["topic"], skipped)
    yield Counters("segue_flushes", "flushes of state", worker.ingest.flushes)
    yield Gauges("segue_unsent_records", "effects that Kafka has not acknowledged", worker.ingest.unsent)
    yield Counters("segue_ticks", "ticks written", worker.ticks.written)
    yield Gauges("segue_catalog_items", "items in the catalog", len(worker.catalog))
    yield Counters("segue_catalog_rejected", "records of the catalog that are no items", worker.catalog_reader.rejected)
    yield Gauges("segue_ready", "1 if requests can be answered", worker.ready)
    yield Gauges("segue_model_version", "version that answers; -1 without a model", -1 if model.version is None else model.version)
    yield Gauges("segue_model_age_seconds", "since the learner was last heard of", model.age_ms / 1000)
    yield Gauges("segue_model_stale", "1 if answers are flagged stale", model.version is not None and model.stale)
    agreement = worker.ingest.serving.order_agreement if worker.ingest.serving is not None else None
    says = "of the model's orders for different users, 1 = the same for all; NaN: too few were compared"
    yield Gauges("segue_order_agreement", says, math.nan if agreement is None else agreement)
    yield Counters("segue_model_loads", "checkpoints loaded", model.loads)
    yield Counters("segue_model_deltas", "deltas applied", model.applied)


def _of_learner(process: LearnerProcess) -> Iterator[Metric]:
    """Counts of records are of all that the learner ever learned, restarts included."""
    loop = process.loop
    learner = loop.learner
    learned = {(what,): n for what, n in sorted(learner.counted.items())} if learner is not None else {}
    lag = process.lag() if learner is not None else 0
    log = {(str(loop.guard.partition), what): n for what, n in sorted(loop.guard.counted.items())}
    yield _by(Counters, "segue_learned", "records of examples, by what they were or what became of them", ["what"], learned)
    yield _by(Counters, "segue_log", "what was odd in the log itself", ["partition", "what"], log)
    skipped = {(own.topic,): own.skipped for own in (loop.own, loop.claim.own)}
    yield _by(Counters, "segue_skipped", SKIPPED, ["topic"], skipped)
    yield Gauges("segue_learner", "1 of the learner, 0 of a standby", learner is not None)
    yield Gauges("segue_learner_epoch", "of its reign", loop.epoch)
    yield Gauges("segue_learner_version", "of the model; -1 of a standby", learner.version if learner is not None else -1)
    if lag is not None:
        yield Gauges("segue_learner_lag_records", "records of examples that are not learned", lag)
    yield Gauges("segue_learner_watermark_seconds", "event time", learner.watermark_ms / 1000 if learner is not None else -1)
    yield Counters("segue_learner_published", "deltas published", loop.publisher.deltas)
    yield Counters("segue_learner_acts", "acts in versions published", loop.publisher.acts)
    yield Counters("segue_learner_checkpoints", "checkpoints saved", loop.checkpoints.written)
    if learner is not None:
        yield from _watched(learner)
        yield from _chosen(learner.strategy_bandit)


def _chosen(strategy_bandit: StrategyBandit) -> Iterator[Metric]:
    """Of each surface; strategies are at most MAX_ARMS."""
    rewards = {(surface, what): n for surface, counted in strategy_bandit.counted.items() for what, n in counted.items()}
    alarms = {(surface,): rewards.pop((surface, "alarms")) for surface in strategy_bandit.counted}
    weights = {(surface,): policy.floor.weight for surface, policy in strategy_bandit.policies.items()}
    recent = {(s, arm): p for s in strategy_bandit.policies for arm, p in strategy_bandit.recent_probabilities(s).items()}
    yield _by(Counters, "segue_rewards", "lists whose strategy was chosen, by what was learned", ["surface", "what"], rewards)
    yield _by(Counters, "segue_strategy_alarms", "times that what a strategy earns has changed", ["surface"], alarms)
    yield _by(Gauges, "segue_revenue_weight", "of revenue against experience, in the choice of a strategy", ["surface"], weights)
    yield _by(Gauges, "segue_strategy_chance", "mean chance with which it was chosen lately", ["surface", "strategy"], recent)


def _watched(learner: Learner) -> Iterator[Metric]:
    gates, drift = learner.gates, learner.drift.alarms.tolist()
    entropy, shares = _one_label(GATES, gates.entropy), _one_label(gates.experts, gates.share)
    neglected = _one_label(gates.experts, gates.alarms)
    drifts = {(task, str(domain)): n for task, row in zip(TASKS, drift, strict=True) for domain, n in enumerate(row)}
    *r2, unidentified = learner.identified
    r2_by_hours = _one_label([f"{h:g}" for h in POPULARITY_HALF_LIVES_H], r2)
    yield _by(Gauges, "segue_gate_entropy", "of a task's gate over experts, nats; over five minutes", ["task"], entropy)
    yield _by(Gauges, "segue_expert_share", "of the gates that may use an expert; over five minutes", ["expert"], shares)
    yield _by(Counters, "segue_expert_alarms", "times that an expert was neglected for an hour", ["expert"], neglected)
    yield _by(Counters, "segue_drift_alarms", "times that what happens left what was predicted", ["task", "domain"], drifts)
    yield _by(Gauges, "segue_popularity_r2", "share of log popularity's variance between items", ["half_life_h"], r2_by_hours)
    yield Gauges("segue_popularity_unidentified", "1 if popularity's effect can't be told from items' quality", unidentified)


def _one_label(values: Sequence[str], figures: Iterable[float]) -> dict[tuple[str], float]:
    return {(value,): float(figure) for value, figure in zip(values, figures, strict=True)}


class Exporter:
    """A service of the learner: /metrics and /healthz on a port of its own."""

    def __init__(self, settings: ExporterSettings) -> None:
        self._settings = settings
        self.address: tuple[str, int] | None = None  # host and port, once bound

    async def __call__(self, process: LearnerProcess) -> None:
        s, registry = self._settings, _registry(lambda: _of_learner(process))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            match scope["path"]:
                case "/metrics":
                    response = Response(generate_latest(registry), media_type=CONTENT_TYPE)
                case "/healthz":
                    health = Health.of(process.watchdog.stalled(), process.log_ends.silent)
                    response = Json(health, 200 if health.alive else 503)
                case path:
                    response = Refusal(404, f"there is nothing at {path}", "the path", "read /metrics or /healthz").response()
            await response(scope, receive, send)

        try:
            bound = bind(s.host, s.port, "exporter")
        except CantListen as error:
            log.warning("the learner goes on without metrics: %s", error)
            return
        self.address = address(bound)
        await serve(Entrance(app, s.token), bound)
