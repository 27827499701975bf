"""How a worker and the learner stand, as records of `metrics`: what they took in, how far behind they are, how fresh; and how
the strategies stand that the learner lets be chosen.

Each process says so every few seconds, for anyone who reads the topic; the panel of `segue run` is such a reader.
Freshness is DESIGN.md section 10's, measured where it counts, at the copy that answers: from the broker's append of an
act to the first version that contains it.
"""
from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from faust.types import TP

from bandit.arms import EXPERIENCE
from streams.core.learning.reward_queue import RewardQueue
from streams.kafka_io.messages import Out
from streams.kafka_io.topics import names
from streams.learner.process import LearnerProcess
from streams.worker.process import Worker
from streams.worker.replica import Replica

if TYPE_CHECKING:
    from bandit.policy import Policy

Histogram = dict[int, int]


class StatusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often a process says how it stands."""

    every_s: float = 5.0  # up to 5 kB a time; `segue run` asks for it every second

    def __post_init__(self) -> None:
        if self.every_s <= 0:
            raise ValueError(f"every_s must be above 0, got {self.every_s}")


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A partition of `events` at its owner."""

    stored: int  # offset of the last record in the state; -1: none
    lag: int  # records that are in the log and not in the state
    watermark_ms: int
    open_lists: int  # whose join window has not closed


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="worker"):
    """A worker. Counts are of all it ever took in, restarts included."""

    at_ms: int
    slot: str
    partitions: dict[int, PartitionStatus]
    counted: dict[str, int]  # events, exposures, unjoined, rejected:REASON
    model_version: int | None  # that answers; None: no model yet
    model_age_ms: int  # since the learner was last heard of
    measured: int  # acts whose freshness was measured since the start of the process
    freshness_ms: Histogram  # of those since the record before: ms, rounded up within 5 %, to acts


class StrategyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy of a surface. Of all its segments together, each weighing what its rounds do."""

    rounds: float  # that its posteriors remember: an alarm of drift leaves a tenth, and all fade
    chance: float  # to be drawn now
    experience: float  # that it is thought to earn: mean of the posteriors
    revenue: float  # the same
    value: float | None  # experience in the newest hour, were it always drawn: doubly robust; None: no round was seen
    value_error: float | None  # its standard error
    ess: float  # effective rounds behind it


class SurfaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The strategies of pages, or of lists."""

    revenue_weight: float  # against experience's 1
    strategies: dict[str, StrategyStatus]


class LearnerStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="learner"):
    """The learner. Counts are of all it ever learned, restarts included, but for `acts`."""

    at_ms: int
    slot: str
    epoch: int
    version: int
    offset: int  # of the last record of `examples` learned; -1: none
    lag: int  # records there that are not learned
    acts: int  # in versions published since the start of the process: what serving copies measure the freshness of
    counted: dict[str, int]  # examples, reversals, scored, unscored, uncompared, sampled_out
    fading: Mapping[int, Mapping[str, Mapping[str, float | None]]]  # half-life, ms of event time -> task -> figures
    surfaces: dict[str, SurfaceStatus] = {}  # page, list -> how their strategies stand


Standing = WorkerStatus | LearnerStatus


def rounded(ms: int) -> int:
    """Up, within 5 %: to 1 below 100, to 5 below 1,000, to 50 below 10,000."""
    step = max(10 ** (len(str(max(ms, 0))) - 1) // 20, 1)
    return -(-max(ms, 0) // step) * step


def histogram(values: Iterable[int]) -> Histogram:
    """Milliseconds, rounded, to how many."""
    out: Histogram = {}
    for value in values:
        out[rounded(value)] = out.get(rounded(value), 0) + 1
    return out


def quantile(counts: Mapping[int, int], share: float, missing: int = 0) -> int | None:
    """The value that a share of all reach at most; `missing` ones count as infinite. None: it is infinite, or there are none."""
    left = share * (sum(counts.values()) + missing)
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return None


def surfaces(reward_queue: RewardQueue) -> dict[str, SurfaceStatus]:
    """How the strategies of each surface stand."""
    return {surface: _surface(reward_queue, surface, policy) for surface, policy in reward_queue.strategy_bandit.policies.items()}


def _surface(reward_queue: RewardQueue, surface: str, policy: Policy) -> SurfaceStatus:
    rounds = policy.arms.won[EXPERIENCE] + policy.arms.lost[EXPERIENCE]  # [G, K]
    met = np.flatnonzero(rounds.sum(1)).tolist() or [0]  # of segments without a round all would say the same
    share = rounds[met].sum(1) / rounds.sum() if rounds.any() else np.ones(1)
    chance = share @ np.array([policy.probabilities(segment) for segment in met])
    experience, revenue = np.einsum("g,gjk->jk", share, np.array([policy.posteriors(segment)[0] for segment in met]))
    values = {value.strategy: value for value in reward_queue.live.newest(surface)}
    return SurfaceStatus(
        revenue_weight=policy.floor.weight,
        strategies={
            name: StrategyStatus(
                rounds=float(rounds[:, k].sum()), chance=float(chance[k]), experience=float(experience[k]),
                revenue=float(revenue[k]) * policy.settings.revenue_most,
                value=values[name].experience if name in values else None,
                value_error=values[name].experience_error if name in values else None,
                ess=values[name].ess if name in values else 0.0,
            )
            for k, name in enumerate(policy.names)
        },
    )  # fmt: skip


class WorkerReporter:
    """A service of the worker: says how it stands, for ever. `model`: the copy that answers."""

    def __init__(self, settings: StatusSettings, model: Replica | None) -> None:
        self._every_s, self._model, self._measured = settings.every_s, model, 0

    async def __call__(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await worker.delivery.append(Out("metrics", 0, b"worker", msgspec.json.encode(self._standing(worker))))

    def _standing(self, worker: Worker) -> WorkerStatus:
        partitions, counted = {}, dict[str, int]()
        for number, owned in sorted(worker.ingest.owned.items()):
            progress, stored = owned.core.progress, owned.store.stored
            end = worker.app.consumer.highwater(owned.tp)
            partitions[number] = PartitionStatus(
                stored=stored, lag=max((end or 0) - stored - 1, 0), watermark_ms=progress.watermark_ms, open_lists=progress.open_lists
            )
            for what, n in progress.counted.items():
                counted[what] = counted.get(what, 0) + n
        model, fresh = self._model, list[int]()
        if model is not None:
            new, self._measured = model.measured - self._measured, model.measured
            fresh = list(islice(reversed(model.freshness_ms), new))
        return WorkerStatus(
            at_ms=_now_ms(), slot=worker.settings.faust.slot, partitions=partitions, counted=counted,
            model_version=model.version if model else None, model_age_ms=model.age_ms if model else 0,
            measured=self._measured, freshness_ms=histogram(fresh),
        )  # fmt: skip


class LearnerReporter:
    """A service of the learner: says how it stands, for ever."""

    def __init__(self, settings: StatusSettings) -> None:
        self._every_s = settings.every_s

    async def __call__(self, process: LearnerProcess) -> None:
        at = TP(names(process.config.topics.prefix).examples, 0)
        while True:
            await asyncio.sleep(self._every_s)
            told = await process.loop.between(lambda learner: (learner.metrics.fading(), surfaces(learner.reward_queue)))
            learner = process.loop.learner
            if learner is None or told is None:
                continue  # a standby
            end = process.app.consumer.highwater(at)
            loop = process.loop
            standing = LearnerStatus(
                at_ms=_now_ms(), slot=process.config.faust.slot, epoch=loop.epoch, version=learner.version, offset=loop.applied,
                lag=max((end or 0) - loop.applied - 1, 0), acts=loop.acts, counted=dict(learner.counted), fading=told[0],
                surfaces=told[1],
            )  # fmt: skip
            await process.delivery.append(Out("metrics", 0, b"learner", msgspec.json.encode(standing)))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
