"""The reward of a slate or page whose strategy was drawn: from the feedback on it, and from what was looked at (MODEL.md section 6).

    experience = clip(sum of the utilities of all labels / experience_full, 0, 1)
    revenue    = sum of monetization from the top down to the last place touched or seen (cascade: what lies below says nothing)

A reward is emitted once, when the whole slate has closed. A place is touched by an act and seen by an impression of the same request; with
neither, nothing is known of the slate: perhaps it never came onto a screen.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from math import isfinite
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from bandit.cascade import examined
from online_model.features import TASKS, Reward
from streams.core.join.catalog import Catalog
from streams.core.join.events import Exposure
from streams.core.state.rows import PendingReward

MAX_MONETIZATION = 1e9  # of one position, as of an item of the catalog
_SUM_SLACK = 1e-6  # of the sum of propensities: they may be written with few digits
_MASK = (1 << len(TASKS)) - 1
_KEYS = 1 << 64


class RewardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What feedback is worth to the user; the same figures as the weights that slates are ordered by."""

    full_play: float = 0.5  # utility of a label, as the next four
    collect: float = 2.0
    share: float = 2.0
    skip: float = -0.5
    dislike: float = -4.0  # outweighs two collects: what is disliked drives people away
    experience_full: Annotated[float, Meta(gt=0)] = 2.0  # utility of a list that counts as 1: four full plays, or a collect


class SlateReward:
    """The reward of a closed slate."""

    def __init__(self, settings: RewardSettings) -> None:
        each = [getattr(settings, task) for task in TASKS]
        self._utility = [sum(compress(each, (mask >> t & 1 for t in range(len(TASKS))))) for mask in range(_MASK + 1)]
        self._full = settings.experience_full

    def of(self, pending: PendingReward, request: int, user: int, ts: int, labels: Mapping[int, int]) -> Reward:
        """Of a slate that has closed at `ts`; labels by item, as they stand now."""
        masks = [labels.get(item, 0) for item in memoryview(pending.items).cast("Q")]
        seen = examined(np.array([masks]) > 0, np.array([pending.depth]))[0]
        revenue = float(np.frombuffer(pending.monetization, "<f8")[seen].sum())
        utility = sum(self._utility[mask & _MASK] for mask in masks)
        return Reward(
            id=request, ts=ts, shown_ms=pending.shown_ms, user=user, surface=pending.surface, strategy=pending.strategy, arms=pending.arms,
            chances=np.frombuffer(pending.propensities, "<f8").tolist(), segment=pending.segment, activity=pending.activity,
            domain=pending.domain, experience=min(max(utility / self._full, 0.0), 1.0), revenue=max(revenue, 0.0), seen=pending.depth > 0,
            vector=np.frombuffer(pending.vector, "<f8").tolist(),
        )  # fmt: skip


def draw_error(exposure: Exposure) -> str | None:
    """What is wrong with an exposure's draw of a strategy, so that no reward is made of it; None where nothing is, or none was drawn."""
    draw, strategy = exposure.arm_draw, exposure.strategy
    if draw is None:
        return None
    if not len(set(draw.arms)) == len(draw.arms) == len(draw.propensities):
        return "arms that are not one to a propensity"
    if strategy not in draw.arms:
        return "a strategy that is not among its arms"
    if abs(sum(draw.propensities) - 1.0) > _SUM_SLACK:
        return "propensities that don't sum to 1"
    if draw.propensities[draw.arms.index(strategy)] == 0.0:
        return "a strategy of propensity 0"
    if max(draw.segment, draw.domain) >= _KEYS or not all(map(isfinite, (draw.activity, *draw.vector))):
        return "a context that is no number of its kind"
    return None


def pending_reward(exposure: Exposure, items: Sequence[int], catalog: Catalog) -> PendingReward | None:
    """What is kept of a slate whose strategy was drawn, from the top; None where the draw can't be as it is written.

    `items`: keys of the slots. Each item counts at its first position, at the monetization that the exposure gives, else
    the catalog.
    """
    draw, strategy = exposure.arm_draw, exposure.strategy
    if draw is None or strategy is None or draw_error(exposure):
        return None
    monetization: dict[int, float] = {}
    for slot, item in zip(exposure.slots, items, strict=True):
        if item not in monetization:
            known = catalog.get(item) if slot.monetization is None else None
            value = slot.monetization or (known.item.monetization if known else 0.0)
            monetization[item] = min(max(value, -MAX_MONETIZATION), MAX_MONETIZATION)
    return PendingReward(
        draw.surface, strategy, list(draw.arms), np.array(draw.propensities, "<f8").tobytes(), draw.segment, draw.activity, draw.domain,
        exposure.ts, np.array(list(monetization), "<u8").tobytes(), np.array(list(monetization.values()), "<f8").tobytes(),
        vector=np.array(draw.vector, "<f8").tobytes(),
    )  # fmt: skip
