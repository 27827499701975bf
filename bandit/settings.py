"""Settings of the choice among strategies. This module does not import scipy: a process reads its settings before it needs any of it."""
from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

LEAST_SHAPE = 0.05  # of a Beta: below it quantiles leave the range of floats

Rate = Annotated[float, Meta(gt=0, lt=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Rounds = Annotated[float, Meta(ge=1)]
NotNegative = Annotated[float, Meta(ge=0)]


class BanditSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Thompson sampling over strategies: priors, drift, exploring, and what revenue weighs."""

    arms: Literal["beta", "gaussian", "linear"] = "beta"  # gaussian: of rewards that vary less than a coin; linear: by user, too
    prior_rounds: float = 20.0  # that a prior weighs: an arm's own outcomes outweigh it within a day
    experience_rate: Rate = 0.1  # mean experience expected of a round; a new arm begins at half of it, pessimistic
    revenue_rate: Rate = 0.05  # the same of revenue, as a share of revenue_most
    revenue_most: Annotated[float, Meta(gt=0)] = 1.0  # revenue of a round is cut at it; a weight of revenue is that of a share of it
    explore: Annotated[float, Meta(gt=0, le=1)] = (
        0.02  # share of uniform choices: no weight of a log exceeds arms / this; at 0 it judges nothing
    )
    # probability of a false alarm of drift, in experience or, where it weighs, revenue, of all arms of a segment; 0: none
    alarm: Annotated[float, Meta(ge=0, lt=1)] = 0.002
    retain_after_drift: Share = 0.1  # of a segment's counts after an alarm: a prior, no longer a verdict
    memory_rounds: Rounds = 100_000.0  # of a segment, that count as new; only a far cap: any forgetting costs when nothing moves
    retired_rounds: NotNegative = 100_000.0  # of a surface, that an arm taken out of the grid keeps what it learned, to be put back with it
    linear_memory_rounds: Rounds = 20_000.0  # of a surface, that count as new: the ranker moves on
    revenue_floor: NotNegative = 0.0  # mean revenue of a round that must be met; 0: none
    floor_rounds: Annotated[int, Meta(ge=1)] = 500  # between two steps of revenue's weight; shorter, it follows chance
    floor_step: NotNegative = 0.5  # of that weight, for a mean that misses the whole floor; at .01, 60,000 rounds reach .6 of a floor
    floor_memory_rounds: Rounds = 5_000.0  # of the mean that is compared with the floor
    weight_most: NotNegative = 5.0  # of revenue's weight under a floor
    revenue_weight: NotNegative = 0.0  # against experience's 1, where no floor is set

    def __post_init__(self) -> None:
        for name in ("experience_rate", "revenue_rate"):
            if not self.prior_rounds * getattr(self, name) / 2 >= LEAST_SHAPE:  # NaN is not
                raise ValueError(f"prior_rounds * {name} / 2 must be at least {LEAST_SHAPE}")
        if self.revenue_floor > self.revenue_most:
            raise ValueError(f"revenue_floor ({self.revenue_floor}) <= revenue_most ({self.revenue_most}) must hold")
        if self.revenue_floor and self.revenue_weight:
            raise ValueError("set revenue_floor or revenue_weight, not both: under a floor the weight is found")
