"""What a list or a page earned whose strategy was chosen: from the acts on it, and from what was looked at (MODEL.md section 6).

    experience = clip(sum of the utilities of all labels / experience_full, 0, 1)
    revenue    = sum of monetization from the top down to the last place touched or seen (cascade: what lies below says nothing)

It is said once, when the whole list has closed. A place is touched by an act and seen by an impression of the same request; with
neither, nothing is known of the list, perhaps it never came onto a screen.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from math import isfinite
from struct import Struct

import msgspec
import numpy as np

from bandit.cascade import examined
from online_model.features import TASKS, Reward
from streams.core.join.events import Exposure

MOST_MONETIZATION = 1e9  # of one place, as of an item of the catalog
_SURE = 1e-6  # of the sum of chances: whoever wrote them may have written fewer digits
_MASK = (1 << len(TASKS)) - 1
_KEYS = 1 << 64


class RewardSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What acts are worth to whom they were made for; the same figures as in what lists are ordered by."""

    full_play: float = 0.5  # utility of a label, as the next four
    collect: float = 2.0
    share: float = 2.0
    skip: float = -0.5
    dislike: float = -4.0  # outweighs two collects: what is disliked drives people away
    experience_full: float = 2.0  # utility of a list that counts as 1: four full plays, or a collect

    def __post_init__(self) -> None:
        if not self.experience_full > 0:
            raise ValueError(f"experience_full ({self.experience_full}) must be above 0")


class PendingReward(msgspec.Struct, array_like=True):
    """How the strategy of a list was chosen, and its places from the top: what waits for the list to close."""

    surface: str
    strategy: str
    arms: list[str]
    chances: bytes  # float64 [K]
    segment: int
    activity: float
    domain: int
    shown_ms: int
    items: bytes  # uint64 [L], modules in page order
    monetization: bytes  # float64 [L]
    depth: int = 0  # places down to the last one touched or seen; 0: nothing is known of the list
    vector: bytes = b""  # float64 [V]

    def place(self, item: int) -> int:
        """Counted from 1; 0 where the item is not in it."""
        items = memoryview(self.items).cast("Q").tolist()
        return items.index(item) + 1 if item in items else 0

    def see(self, item: int) -> None:
        """Something happened to one of the places."""
        self.depth = max(self.depth, self.place(item))


class Worth:
    """What labels are worth, by bit mask."""

    def __init__(self, settings: RewardSettings) -> None:
        each = [getattr(settings, task) for task in TASKS]
        self._of_mask = [sum(compress(each, (mask >> t & 1 for t in range(len(TASKS))))) for mask in range(_MASK + 1)]
        self._full = settings.experience_full

    def reward(self, chosen: PendingReward, request: int, user: int, ts: int, labels: Mapping[int, int]) -> Reward:
        """Of a list that has closed at `ts`; labels by item, as they stand now."""
        of_place = [labels.get(item, 0) for item in memoryview(chosen.items).cast("Q")]
        looked_at = examined(np.array([of_place]) > 0, np.array([chosen.depth]))[0]
        revenue = float(np.frombuffer(chosen.monetization, "<f8")[looked_at].sum())
        utility = sum(self._of_mask[mask & _MASK] for mask in of_place)
        return Reward(
            id=request, ts=ts, shown_ms=chosen.shown_ms, user=user, surface=chosen.surface, strategy=chosen.strategy, arms=chosen.arms,
            chances=np.frombuffer(chosen.chances, "<f8").tolist(), segment=chosen.segment, activity=chosen.activity, domain=chosen.domain,
            experience=min(max(utility / self._full, 0.0), 1.0), revenue=max(revenue, 0.0), seen=chosen.depth > 0,
            vector=np.frombuffer(chosen.vector, "<f8").tolist(),
        )  # fmt: skip


def choice_error(exposure: Exposure) -> str | None:
    """What is wrong with an exposure's draw of a strategy, so that no reward is made of it; None where nothing is, or none was drawn."""
    choice, strategy = exposure.choice, exposure.strategy
    if choice is None:
        return None
    if not len(set(choice.arms)) == len(choice.arms) == len(choice.chances):
        return "arms that are not one to a chance"
    if strategy not in choice.arms:
        return "a strategy that is not among its arms"
    if abs(sum(choice.chances) - 1.0) > _SURE:
        return "chances that don't sum to 1"
    if choice.chances[choice.arms.index(strategy)] == 0.0:
        return "a strategy of chance 0"
    if max(choice.segment, choice.domain) >= _KEYS or not all(map(isfinite, (choice.activity, *choice.vector))):
        return "a context that is no number of its kind"
    return None


def remembered(exposure: Exposure, items: Sequence[int], monetization: Sequence[float]) -> PendingReward | None:
    """What is kept of an exposure whose strategy was drawn, its places from the top; None where the draw can't be right."""
    choice, strategy = exposure.choice, exposure.strategy
    if choice is None or strategy is None or choice_error(exposure):
        return None
    return PendingReward(
        choice.surface, strategy, list(choice.arms), Struct(f"<{len(choice.chances)}d").pack(*choice.chances), choice.segment,
        choice.activity, choice.domain, exposure.ts, Struct(f"<{len(items)}Q").pack(*items),
        Struct(f"<{len(items)}d").pack(*[min(max(m, -MOST_MONETIZATION), MOST_MONETIZATION) for m in monetization]),
        vector=np.array(choice.vector, "<f8").tobytes(),
    )  # fmt: skip
