"""What is exported of the choice among strategies: bounded, and what it knows."""
from __future__ import annotations

from bandit.settings import BanditSettings
from online_model.features import Reward
from streams.core.learning.strategy_bandit import StrategyBandit
from streams.core.serving.surfaces import by_default
from streams.http.exporter import _chosen


def test_of_every_surface_rewards_alarms_revenues_weight_and_chances() -> None:
    strategy_bandit = StrategyBandit(by_default(), BanditSettings(revenue_weight=0.5))
    arms = list(strategy_bandit.policies["list"].names)
    for seen, strategy in ((True, arms[0]), (False, arms[0]), (True, "gone")):
        strategy_bandit.learn([Reward(1, 1, 1, 1, "list", strategy, arms, [0.5, 0.3, 0.2], 0, 0.0, 0, 1.0, 1.0, seen)])
    found = {(s.name, *s.labels.values()): s.value for metric in _chosen(strategy_bandit) for s in metric.samples}
    assert found == {
        **{("segue_rewards_total", "page", what): 0.0 for what in ("learned", "unseen", "unknown_strategy")},
        **{("segue_rewards_total", "list", what): 1.0 for what in ("learned", "unseen", "unknown_strategy")},
        **{("segue_strategy_alarms_total", surface): 0.0 for surface in ("page", "list")},
        **{("segue_revenue_weight", surface): 0.5 for surface in ("page", "list")},
        **{("segue_strategy_chance", "list", arm): chance for arm, chance in zip(arms, (0.5, 0.3, 0.2), strict=True)},
    }
