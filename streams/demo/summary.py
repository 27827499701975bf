"""Summary of a run at its end, as one object for JSON or as lines."""
from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.core.serving.surfaces import Varieties
from streams.demo.listeners import Activity
from streams.demo.readings import Readings, shares
from streams.kafka_io.topics import TopicSettings, names
from streams.status import SurfaceStatus


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of the whole run, from the first request of the listeners on."""

    complete: bool  # went its whole time and was closed: everything that came is learned
    seconds: float  # that the listeners were there
    start_seconds: float  # before that, from Kafka's answer until a model answered
    events: int  # events taken in
    events_per_s: float
    exposures: int  # slates and pages that were recorded as served
    examples: int
    reversals: int  # later feedback on what had been learned
    lag: int | None  # records not acknowledged by worker and learner at the end, of both consumer groups; None: not asked
    freshness_p50_ms: int | None  # broker append of feedback -> first version that learned from it serves; None: infinite
    freshness_p99_ms: int | None
    unlearned: int  # feedback that counts as infinite there
    metrics: dict[str, dict[str, float | None]]  # by task, of every exposure whose window closed; cut short: fading figures
    lists: int  # that listeners were given
    pages: int
    empty: int  # of both, those without feedback
    surfaces: dict[str, SurfaceStatus]  # page, list -> status of strategies at the end, where one was drawn
    variety: Varieties  # page, list -> strategy -> figures of the last ones it served
    collect_rate: float | None  # collects / plays
    dislikes_per_1000_plays: float | None
    rejected: dict[str, int]  # by reason
    unjoined: int  # feedback whose exposure never came
    failed_requests: int
    model_version: int
    join_window_s: float
    seed: int


def figures(
    readings: Readings, activity: Activity, metrics: dict[str, dict[str, float | None]] | None, seconds: float, complete: bool, **rest: Any
) -> Summary:
    """The summary of what was read and what listeners did. Cut short, feedback still on its way does not count as unlearned."""
    counted, (collects, dislikes) = readings.counted, shares(activity.actions)
    unlearned, learner = readings.unlearned if complete else counted["unjoined"], readings.learner
    fresh = readings.freshness(unlearned)
    return Summary(
        complete=complete, seconds=round(seconds, 3), events=readings.events,
        events_per_s=round(readings.events / seconds, 1) if seconds else 0.0,
        exposures=counted["exposures"], examples=readings.examples, reversals=learner.counted.get("reversals", 0) if learner else 0,
        freshness_p50_ms=fresh.p50, freshness_p99_ms=fresh.p99, unlearned=unlearned,
        metrics=readings.figures() if metrics is None else metrics,
        lists=activity.lists, pages=activity.pages, empty=activity.empty, surfaces=readings.surfaces, variety=readings.variety,
        collect_rate=collects, dislikes_per_1000_plays=dislikes,
        rejected=readings.rejected, unjoined=counted["unjoined"], failed_requests=activity.failed,
        model_version=learner.version if learner else 0, **rest,
    )  # fmt: skip


def lines(summary: Summary) -> Iterator[str]:
    """The summary for people."""
    s = summary
    p50, p99 = (f"{ms:,} ms" if ms is not None else "infinite" for ms in (s.freshness_p50_ms, s.freshness_p99_ms))
    served = f"{s.lists:,} lists and {s.pages:,} pages"
    yield f"{s.events:,} events in {s.seconds:.0f} s ({s.events_per_s:.0f}/s) on {served}; {s.examples:,} examples learned"
    yield f"lag {'not asked' if s.lag is None else f'{s.lag:,}'}; freshness p50 {p50}, p99 {p99}; {s.unlearned:,} acts unlearned"
    for task, m in s.metrics.items():
        metrics = "  ".join(f"{name} {m[name]:.4f}" for name in ("auc", "ne", "copc") if m.get(name) is not None)
        yield f"{task:10} {metrics}  n {m.get('n') or 0:,.0f}"
    for surface, of in s.surfaces.items():
        yield f"{surface}s by strategy; revenue weighs {of.revenue_weight:g} against experience's 1"
        for name, one in of.strategies.items():
            value = f"{one.value:.3f} ± {one.value_error:.3f}" if one.value is not None and one.value_error is not None else "–"
            earned = f"experience {one.experience:.3f}  revenue {one.revenue:.3f}  this hour {value}"
            yield f"{name:15} rounds {one.rounds:.0f}  chance {one.propensity:.1%}  {earned}"
    for surface, by_strategy in s.variety.items():
        yield f"{surface}s as listeners saw them; of each strategy the last ones"
        for name, v in by_strategy.items():
            parts = [f"shown {v.impressions}", f"distinct items {v.distinct_items:,}", f"categories per user {v.categories_per_user:.2f}"]
            parts += [f"overlap {v.overlap:.3f}"] if v.overlap is not None else []
            parts += [f"dislikes per 1,000 plays {v.dislikes_per_1000_plays:.1f}"] if v.dislikes_per_1000_plays is not None else []
            yield f"{name:15} {'  '.join(parts)}"
    if s.collect_rate is not None and s.dislikes_per_1000_plays is not None:
        yield f"collect rate {s.collect_rate:.1%}; {s.dislikes_per_1000_plays:.1f} dislikes per 1,000 plays"
    if s.rejected:
        yield "rejected: " + ", ".join(f"{reason} {n:,}" for reason, n in s.rejected.items())


async def lag(topics: TopicSettings) -> int:
    """Consumer lag as Kafka tools report it: end offsets less what the groups of worker and learner have committed."""
    t = names(topics.prefix)
    wanted = {
        f"{topics.prefix}-worker": [TopicPartition(t.events, p) for p in range(topics.partitions)],
        f"{topics.prefix}-learner": [TopicPartition(t.examples, 0)],
    }
    admin, consumer = AIOKafkaAdminClient(bootstrap_servers=topics.bootstrap), AIOKafkaConsumer(bootstrap_servers=topics.bootstrap)
    await admin.start()
    await consumer.start()
    try:
        behind = 0
        for group, partitions in wanted.items():
            committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
            for at, end in (await consumer.end_offsets(partitions)).items():
                behind += end - max(committed[at].offset if at in committed else 0, 0)
        return behind
    finally:
        await consumer.stop()
        await admin.close()


def learned(checkpoints: Path) -> dict[str, dict[str, float | None]]:
    """Figures of every exposure so far, GAUC among them, from the learner's newest checkpoint."""
    from online_model import checkpoint
    from online_model.metrics import Prequential

    found = checkpoint.load_newest(checkpoints)
    if found is None:
        return {}
    metrics = Prequential()
    metrics.load({name[8:]: array for name, array in found.arrays.items() if name.startswith("metrics.")}, found.meta["metrics"])
    return {task: {name: None if isnan(x) else x for name, x in of_task.items()} for task, of_task in metrics.summary().items()}
