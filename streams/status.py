"""Status of a worker and of the learner, as records of `metrics`: counts, lag, freshness, and the strategies of the bandit.

Each process writes its own every few seconds; the panel of `segue run` is one reader. Freshness is that of DESIGN.md
section 10, measured at the replica that serves: from the broker's append of a feedback to the first version that
learned from it.
"""
from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from bandit.arms import EXPERIENCE
from streams.clock import now_ms
from streams.core.learning.reward_queue import RewardQueue
from streams.kafka_io.messages import Out

if TYPE_CHECKING:  # its settings are read without Faust
    from bandit.policy import Policy
    from streams.learner.process import LearnerProcess
    from streams.worker.process import Worker
    from streams.worker.replica import Replica

Histogram = dict[int, int]
UNKNOWN = -1  # of a lag


class StatusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How often a process writes its status."""

    every_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0  # up to 5 kB a time; `segue run` sets it to a second


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A partition of `events` at its owner."""

    stored: int  # offset of the last record in the state; -1: none
    lag: int  # records that are in the log and not in the state; UNKNOWN: the log's end can't be read
    catching_up: bool = False  # it is large: slates are flagged
    watermark_ms: int
    open_lists: int  # whose join window has not closed


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="worker"):
    """A worker. Counts are since its state began, restarts included."""

    at_ms: int
    slot: str
    partitions: dict[int, PartitionStatus]
    counted: dict[str, int]  # events, exposures, unjoined, rejected:REASON
    model_version: int | None  # that serves; None: no model yet
    model_age_ms: int  # since the newest record from the learner
    measured: int  # feedback whose freshness was measured since the start of the process
    freshness_ms: Histogram  # of those since the record before: ms, rounded up within 5 %, to how many


class StrategyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy of a surface: the mean over its segments, weighted by their rounds."""

    rounds: float  # in its posteriors: an alarm of drift leaves a tenth, and all fade
    propensity: float = msgspec.field(name="chance")  # to be drawn now
    experience: float  # mean of the posteriors
    revenue: float  # the same
    value: float | None  # experience in the newest hour, were it always drawn, doubly robust; None: no round was seen
    value_error: float | None  # its standard error
    ess: float  # effective rounds behind it


class SurfaceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The strategies of pages, or of slates."""

    revenue_weight: float  # against experience's 1
    strategies: dict[str, StrategyStatus]


class LearnerStatus(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="learner"):
    """The learner. Counts are since its state began, restarts included, but for `acts`."""

    at_ms: int
    slot: str
    epoch: int
    version: int
    offset: int  # of the last record of `examples` learned; -1: none
    lag: int  # records there that are not learned; UNKNOWN: the log's end can't be read
    acts: int  # feedback in versions published since the start of the process: what replicas measure the freshness of
    counted: dict[str, int]  # examples, reversals, scored, unscored, uncompared, sampled_out
    fading: Mapping[int, Mapping[str, Mapping[str, float | None]]]  # half-life, ms of event time -> task -> figures
    surfaces: dict[str, SurfaceStatus] = {}  # page, list -> status of their strategies


ProcessStatus = WorkerStatus | LearnerStatus


def rounded(ms: int) -> int:
    """Milliseconds rounded up, within 5 %: to 1 below 100, to 5 below 1,000, to 50 below 10,000.

    >>> rounded(99), rounded(101), rounded(1_001)
    (99, 105, 1050)
    """
    step = max(10 ** (len(str(max(ms, 0))) - 1) // 20, 1)
    return -(-max(ms, 0) // step) * step


def histogram(values: Iterable[int]) -> Histogram:
    """Milliseconds, rounded, to how many there are.

    >>> histogram([7, 101, 104])
    {7: 1, 105: 2}
    """
    return dict(Counter(map(rounded, values)))


def quantile(counts: Mapping[int, int], share: float, missing: int = 0) -> int | None:
    """The quantile at `share` of a histogram; `missing` values count as infinite. None: it is infinite, or there are no values.

    >>> quantile({7: 1, 105: 2}, 0.5)
    105
    """
    left = share * (sum(counts.values()) + missing)
    for value in sorted(counts):
        left -= counts[value]
        if left <= 0:
            return value
    return None


def surfaces(reward_queue: RewardQueue) -> dict[str, SurfaceStatus]:
    """Status of the strategies of each surface."""
    return {surface: _surface(reward_queue, surface, policy) for surface, policy in reward_queue.strategy_bandit.policies.items()}


def _surface(reward_queue: RewardQueue, surface: str, policy: Policy) -> SurfaceStatus:
    rounds = policy.arms.won[EXPERIENCE] + policy.arms.lost[EXPERIENCE]  # [G, K]
    seen = np.flatnonzero(rounds.sum(1)).tolist() or [0]  # segments without a round all have the prior
    share = rounds[seen].sum(1) / rounds.sum() if rounds.any() else np.ones(1)
    propensity = share @ np.array([policy.probabilities(segment) for segment in seen])
    experience, revenue = np.einsum("g,gjk->jk", share, np.array([policy.posteriors(segment)[0] for segment in seen]))
    values = {value.strategy: value for value in reward_queue.live.newest(surface)}
    return SurfaceStatus(
        revenue_weight=policy.floor.weight,
        strategies={
            name: StrategyStatus(
                rounds=float(rounds[:, k].sum()), propensity=float(propensity[k]), experience=float(experience[k]),
                revenue=float(revenue[k]) * policy.settings.revenue_most,
                value=values[name].experience if name in values else None,
                value_error=values[name].experience_error if name in values else None,
                ess=values[name].ess if name in values else 0.0,
            )
            for k, name in enumerate(policy.names)
        },
    )  # fmt: skip


class WorkerReporter:
    """A service of the worker: writes its status, for ever. `model`: the replica that serves, if there is one."""

    def __init__(self, settings: StatusSettings, model: Replica | None) -> None:
        self._every_s, self._model, self._measured = settings.every_s, model, 0

    async def __call__(self, worker: Worker) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await worker.delivery.append(Out("metrics", 0, b"worker", msgspec.json.encode(self._status(worker))))

    def _status(self, worker: Worker) -> WorkerStatus:
        partitions, counted, behind = {}, Counter[str](), worker.ingest.catching_up()
        for number, owned in sorted(worker.ingest.owned.items()):
            progress, lag = owned.core.progress, worker.lag(owned)
            partitions[number] = PartitionStatus(
                stored=owned.store.stored, lag=UNKNOWN if lag is None else lag, catching_up=number in behind,
                watermark_ms=progress.watermark_ms, open_lists=progress.open_lists,
            )  # fmt: skip
            counted.update(progress.counted)
        model, freshness = self._model, list[int]()
        if model is not None:
            new, self._measured = model.measured - self._measured, model.measured
            freshness = list(islice(reversed(model.freshness_ms), new))
        return WorkerStatus(
            at_ms=now_ms(), slot=worker.settings.faust.slot, partitions=partitions, counted=dict(counted),
            model_version=model.version if model else None, model_age_ms=model.age_ms if model else 0,
            measured=self._measured, freshness_ms=histogram(freshness),
        )  # fmt: skip


class LearnerReporter:
    """A service of the learner: writes its status, for ever."""

    def __init__(self, settings: StatusSettings) -> None:
        self._every_s = settings.every_s

    async def __call__(self, process: LearnerProcess) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            figures = await process.loop.between_turns(lambda learner: (learner.metrics.fading(), surfaces(learner.reward_queue)))
            learner = process.loop.learner
            if learner is None or figures is None:
                continue  # a standby
            lag, loop = process.lag(), process.loop
            status = LearnerStatus(
                at_ms=now_ms(), slot=process.config.faust.slot, epoch=loop.epoch, version=learner.version, offset=loop.applied,
                lag=UNKNOWN if lag is None else lag, acts=loop.publisher.acts, counted=dict(learner.counted), fading=figures[0],
                surfaces=figures[1],
            )  # fmt: skip
            await process.delivery.append(Out("metrics", 0, b"learner", msgspec.json.encode(status)))
