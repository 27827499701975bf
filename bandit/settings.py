"""What the choice among strategies runs by. Without scipy, so that a process can read its settings without loading it."""
from __future__ import annotations

from typing import Literal

import msgspec

LEAST_SHAPE = 0.05  # of a Beta: below it quantiles leave the range of floats


class BanditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thompson sampling over strategies: priors, drift, exploring, and what revenue weighs."""

    arms: Literal["beta", "gaussian", "linear"] = "beta"  # gaussian: of rewards that vary less than a coin; linear: by user, too
    prior_rounds: float = 20.0  # that a prior weighs: an arm's own outcomes outweigh it within a day
    experience_rate: float = 0.1  # mean experience expected of a round; a new arm begins at half of it, pessimistic
    revenue_rate: float = 0.05  # the same of revenue, as a share of revenue_most
    revenue_most: float = 1.0  # revenue of a round is cut at it; a weight of revenue is that of a share of it
    explore: float = 0.02  # share of choices that are uniform: no weight of a log exceeds arms / this
    alarm: float = 0.002  # chance of a false alarm of drift, in experience or, where it weighs, revenue, of all arms of a segment; 0: none
    retain_after_drift: float = 0.1  # of a segment's counts after an alarm: a prior, no longer a verdict
    memory_rounds: float = 100_000.0  # of a segment, that count as new; only a far cap: any forgetting costs when nothing moves
    linear_memory_rounds: float = 20_000.0  # of a surface, that count as new: the ranker moves on
    revenue_floor: float = 0.0  # mean revenue of a round that must be met; 0: none
    floor_rounds: int = 500  # between two steps of revenue's weight; shorter, it follows chance
    floor_step: float = 0.5  # of that weight, for a mean that misses the whole floor; at .01, 60,000 rounds reach .6 of a floor
    floor_memory_rounds: float = 5_000.0  # of the mean that is compared with the floor
    weight_most: float = 5.0  # of revenue's weight under a floor
    revenue_weight: float = 0.0  # against experience's 1, where no floor is set

    def __post_init__(self) -> None:
        for name in ("experience_rate", "revenue_rate"):
            rate = getattr(self, name)
            if not (0 < rate < 1 and self.prior_rounds * rate / 2 >= LEAST_SHAPE):
                raise ValueError(f"{name} ({rate}) must lie within 0 and 1, and prior_rounds * {name} / 2 be at least {LEAST_SHAPE}")
        if not 0 < self.explore <= 1:
            raise ValueError(f"0 < explore ({self.explore}) <= 1 must hold: without exploring, a log can't judge other policies")
        if not 0 <= self.alarm < 1 or not 0 <= self.retain_after_drift <= 1:
            raise ValueError(f"0 <= alarm ({self.alarm}) < 1 and 0 <= retain_after_drift ({self.retain_after_drift}) <= 1 must hold")
        if min(self.memory_rounds, self.linear_memory_rounds, self.floor_memory_rounds, self.floor_rounds) < 1:
            raise ValueError("memory_rounds, linear_memory_rounds, floor_memory_rounds and floor_rounds must be at least 1")
        if not 0 <= self.revenue_floor <= self.revenue_most or self.revenue_most <= 0:
            raise ValueError(f"0 <= revenue_floor ({self.revenue_floor}) <= revenue_most ({self.revenue_most}) must hold, the last above 0")
        if min(self.floor_step, self.weight_most, self.revenue_weight) < 0:
            raise ValueError("floor_step, weight_most and revenue_weight can't be negative")
        if self.revenue_floor and self.revenue_weight:
            raise ValueError("set revenue_floor or revenue_weight, not both: under a floor the weight is found")
