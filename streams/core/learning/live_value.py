"""What each strategy would earn if it were always chosen, by hour, while it runs: doubly robust, by the logged propensities.

    value of a = mean over rounds of q(segment, a) + [a acted] / p(a) * (r - q(segment, a))

q is what the posteriors say just before they learn of the round, so that it has not seen what it is held against (Dudik et al.,
arXiv 1103.4601, section 3; MODEL.md section 8). Only rounds that were on a screen count, as for the posteriors; revenue of a round is
cut at what the posteriors cut it at. An hour is that of `shown_ms`; it closes when its lists have, and some minutes more.
Shapes: N rounds, K arms; first place of [2, ...]: experience, revenue.
"""
from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import msgspec
import numpy as np

from bandit.estimators import weights
from online_model.features import Reward
from streams.core.join.keys import HOUR_MS
from streams.core.learning.checkpoint_arrays import packed, unpacked
from streams.core.learning.strategy_bandit import StrategyBandit

Array = np.ndarray

GRACE_MS = 600_000  # for lists that were scrolled on, and partitions that are behind
OPEN = 1_000  # (hour, surface, strategy) at most, about two days; beyond, the oldest hours close
NEVER = 1 << 62

_Key = tuple[int, str, str]  # start of the hour, surface, strategy


class StrategyValue(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="strategy"):
    """One strategy in one hour. A record of the topic `metrics`."""

    surface: str
    strategy: str
    start_ms: int
    end_ms: int
    n: int  # rounds in which it could have been chosen
    chosen: int  # rounds in which it was
    ess: float  # effective sample of the weights 1/p: rounds like these that would say as much
    experience: float  # value of always choosing it
    experience_error: float | None  # its standard error; None of fewer than two rounds
    experience_mean: float | None  # of the rounds in which it was chosen: what users for whom it was chosen made of it
    revenue: float
    revenue_error: float | None
    revenue_mean: float | None
    late: int  # rounds so far that came after their hour had closed


class LiveValue:
    """Sums of the open hours."""

    def __init__(self) -> None:
        self.late = 0
        self._sums: dict[_Key, Array] = {}  # [10]: n, chosen, sums of w and w^2, then [2] of r where chosen, values, squares of values
        self._closed_until = -1

    def see(self, strategy_bandit: StrategyBandit, rewards: Sequence[Reward]) -> None:
        """Rounds, before `strategy_bandit` learns of them."""
        groups: dict[tuple[int, str, tuple[str, ...]], list[Reward]] = {}
        for reward in rewards:
            if reward.seen and reward.surface in strategy_bandit.policies:
                start = reward.shown_ms // HOUR_MS * HOUR_MS
                if start < self._closed_until:
                    self.late += 1
                else:
                    groups.setdefault((start, reward.surface, tuple(reward.arms)), []).append(reward)
        for (start, surface, arms), group in groups.items():
            by_segment = {g: strategy_bandit.expected(surface, g, arms) for g in {r.segment for r in group}}
            q = np.stack([by_segment[r.segment] for r in group], 1)  # [2, N, K]
            most = strategy_bandit.policies[surface].settings.revenue_most
            r = np.array([[x.experience for x in group], [min(x.revenue, most) for x in group]])
            rows, acted = np.arange(len(group)), np.array([arms.index(x.strategy) for x in group])
            w = np.zeros(q.shape[1:])
            w[rows, acted] = weights(np.ones(len(group)), np.array([x.chances for x in group])[rows, acted])
            values = q + w * (r[:, :, None] - q)
            earned = (w > 0) * r[:, :, None]
            sums = np.stack([np.full(len(arms), len(group)), (w > 0).sum(0), w.sum(0), (w * w).sum(0)])
            sums = np.concatenate([sums, earned.sum(1), values.sum(1), (values * values).sum(1)])  # [10, K]
            for k, name in enumerate(arms):
                key = (start, surface, name)
                self._sums[key] = self._sums.get(key, 0.0) + sums[:, k]

    @property
    def oldest(self) -> int:
        """Start of the oldest open hour."""
        return min((start for start, _, _ in self._sums), default=NEVER)

    def newest(self, surface: str) -> list[StrategyValue]:
        """What each strategy is worth in the newest hour, as far as it is known."""
        keys = [key for key in self._sums if key[1] == surface]
        start = max((key[0] for key in keys), default=NEVER)
        return [self._value(key, self._sums[key]) for key in sorted(keys) if key[0] == start]

    def until(self, settled_ms: int) -> int:
        """Where hours end that can be closed once all lists shown before `settled_ms` have, or too many hours are open."""
        until = (settled_ms - GRACE_MS) // HOUR_MS * HOUR_MS
        if len(self._sums) > OPEN:
            until = max(until, sorted(start for start, _, _ in self._sums)[len(self._sums) - OPEN] + HOUR_MS)
        return until

    def advance(self, settled_ms: int) -> list[StrategyValue]:
        """Close what can be closed."""
        return self._close(self.until(settled_ms))

    def close(self) -> list[StrategyValue]:
        """The end of a log closes all."""
        return self._close(max((start for start, _, _ in self._sums), default=self._closed_until - HOUR_MS) + HOUR_MS)

    def array(self) -> Array:
        """Everything, for a checkpoint."""
        rows = [(*key, sums.tolist()) for key, sums in self._sums.items()]
        return packed((self._closed_until, self.late, rows))

    def load(self, array: Array) -> None:
        """Restore `array()`."""
        self._closed_until, self.late, rows = unpacked(array, tuple[int, int, list[tuple[int, str, str, list[float]]]])
        self._sums = {(start, surface, name): np.array(sums) for start, surface, name, sums in rows}

    def _close(self, until: int) -> list[StrategyValue]:
        if until <= self._closed_until:
            return []
        self._closed_until = until
        return [self._value(key, self._sums.pop(key)) for key in sorted(key for key in self._sums if key[0] < until)]

    def _value(self, key: _Key, sums: Array) -> StrategyValue:
        start, surface, name = key
        n, chosen, weight, squares = sums[:4].tolist()
        earned, total, total_squares = sums[4:6].tolist(), sums[6:8].tolist(), sums[8:10].tolist()
        mean = [t / n for t in total]
        errors = [sqrt(max(s / n - m * m, 0.0) / (n - 1)) if n > 1 else None for s, m in zip(total_squares, mean, strict=True)]
        means = [e / chosen if chosen else None for e in earned]
        return StrategyValue(
            surface=surface, strategy=name, start_ms=start, end_ms=start + HOUR_MS, n=int(n), chosen=int(chosen),
            ess=weight * weight / squares if squares else 0.0, experience=mean[0], experience_error=errors[0], experience_mean=means[0],
            revenue=mean[1], revenue_error=errors[1], revenue_mean=means[1], late=self.late,
        )  # fmt: skip
