"""What can be chosen on each surface: the strategies that settings name, arms of the choice."""
from __future__ import annotations

from bandit.settings import BanditSettings
from bandit.strategies import strategies
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import RecommendSettings


def arms(pages: PageSettings, recommend: RecommendSettings) -> dict[str, tuple[str, ...]]:
    """Names by surface."""
    return {"page": tuple(strategy.name for strategy in strategies(pages.revenue_blends)), "list": recommend.chosen}


def by_default() -> dict[str, tuple[str, ...]]:
    """As settings are by default."""
    return arms(PageSettings(), RecommendSettings())


def default_strategy_bandit() -> StrategyBandit:
    """The choice among strategies as settings are by default, with nothing learned."""
    return StrategyBandit(by_default(), BanditSettings())
