"""Limits and windows of what happens to an event, with the reason of each default."""
from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from online_model.decay import DAY_MS
from streams.core.join.events import EARLIEST_TS, EventTime
from streams.core.join.keys import HOUR_MS
from streams.core.join.rewards import RewardSettings

MINUTE_MS = 60_000

Limit = Annotated[int, Meta(ge=1)]


class EventSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of what is decoded as an event."""

    earliest_ts: EventTime = EARLIEST_TS  # 1990-01-01; before it: dead letter. Seconds read as ms are in January 1970


class PartitionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a partition admits events and joins exposures with what came of them."""

    allowed_lateness_ms: int = HOUR_MS  # older than the watermark by more: dead letter; covers phones offline for a while
    allowed_future_ms: int = 300_000  # ahead of its arrival by more: a wrong clock, which must not move event time
    dedupe_window_ms: int = HOUR_MS  # client retries come within minutes; at least allowed_lateness_ms
    join_window_ms: int = 600_000  # an exposure without an act becomes a negative after this; the talk's sessions are shorter
    join_retention_ms: int = 24 * HOUR_MS  # a late collect or an undo still finds its example this long
    # share of exposures without an act that is learned from; less costs precision, not calibration
    negative_rate: Annotated[float, Meta(gt=0, le=1)] = 1.0
    full_play_ratio: float = 0.9  # played / duration from which a play is full
    partial_play_ratio: float = 0.3  # below it a play says nothing good of the item
    related_limit: int = 8  # behaviours kept a user and artist or category
    related_keys: int = 64  # artists and categories with such behaviours, a user
    history_limit: Limit = 50  # behaviours kept a user, domain and family
    # of one user's exposures to one item, and of the acts on it, what counts of the item at most: as much as four users who act once
    repeat_limit: Annotated[float, Meta(ge=1)] = 4.0
    rate_half_life_h: float = 168.0  # of the counts behind rates: a week, so that weekdays don't swing them
    shown_limit: Limit = 100  # of the last shown items kept a user, for the no-repeat window
    domain_limit: Limit = 16  # domains remembered a user
    category_limit: Limit = 64  # categories remembered a user
    # without an act or a served list for so long, a user is forgotten: three years, since old likes still tell something
    user_expire_d: Annotated[float, Meta(gt=0)] = 1_095.0
    reward: RewardSettings = RewardSettings()

    def __post_init__(self) -> None:
        if self.dedupe_window_ms < self.allowed_lateness_ms:
            raise ValueError(
                f"dedupe_window_ms ({self.dedupe_window_ms:,}) must be at least allowed_lateness_ms ({self.allowed_lateness_ms:,}): "
                "else a late duplicate would be learned twice"
            )
        if self.join_retention_ms < self.join_window_ms:
            raise ValueError(f"join_retention_ms ({self.join_retention_ms:,}) must be at least join_window_ms ({self.join_window_ms:,})")
        if self.user_expire_ms < self.join_retention_ms:
            raise ValueError(
                f"user_expire_d ({self.user_expire_d:,}) must be at least join_retention_ms ({self.join_retention_ms:,}): "
                "else an act would find its exposure, and not its user"
            )
        if not 0 < self.partial_play_ratio <= self.full_play_ratio:
            raise ValueError(f"0 < partial_play_ratio ({self.partial_play_ratio}) <= full_play_ratio ({self.full_play_ratio}) must hold")

    @property
    def user_expire_ms(self) -> int:
        """`user_expire_d` in whole milliseconds."""
        return int(self.user_expire_d * DAY_MS)
