"""Surfaces (pages, slates): the strategies that compete on each, and the figures by which `segue run` compares what they served."""
from __future__ import annotations

import msgspec

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings


def arms(pages: PageSettings, recommend: RecommendSettings) -> dict[str, tuple[str, ...]]:
    """Names of strategies by surface, as settings have them: the arms of the bandit."""
    return {"page": tuple(strategy.name for strategy in strategies(pages.revenue_blends)), "list": recommend.chosen}


def by_default() -> dict[str, tuple[str, ...]]:
    """Arms of the default settings.

    >>> by_default()["list"]
    ('ranked', 'tail', 'explore')
    """
    return arms(PageSettings(), RecommendSettings())


def default_strategy_bandit() -> StrategyBandit:
    """A bandit over the arms of the default settings that has learned nothing."""
    return StrategyBandit(by_default(), BanditSettings())


class Variety(msgspec.Struct, frozen=True, kw_only=True):
    """How varied and how well received the last slates or pages of a strategy were: comparable at equal `impressions`."""

    impressions: int = msgspec.field(name="shown")
    categories_per_user: float
    overlap: float | None  # of two listeners: items that both had, of those that either had
    distinct_items: int
    dislikes_per_1000_plays: float | None


Varieties = dict[str, dict[str, Variety]]  # surface -> strategy, ALL first
