"""The arms of each surface are the strategies that settings name."""
from __future__ import annotations

import msgspec
import pytest

from streams.core.serving.pages import PageSettings
from streams.core.serving.recommend import Preset, RecommendSettings
from streams.core.serving.surfaces import Variety, arms, by_default, default_strategy_bandit


def test_arms_are_the_blends_and_fixed_strategies_of_pages_and_the_chosen_ones_of_slates() -> None:
    recommend = RecommendSettings(presets={"calm": Preset(gamma_user=0.5)}, chosen=("ranked", "calm"))
    found = arms(PageSettings(revenue_blends=(0.0, 0.5)), recommend)
    assert found == {"page": ("blend-0", "blend-0.5", "tail", "explore", "fixed"), "list": ("ranked", "calm")}


def test_the_default_bandit_has_the_default_arms_and_equal_propensities() -> None:
    bandit = default_strategy_bandit()
    for surface, names in by_default().items():
        _, choice = bandit.choose(surface, 0.0, 0, 0.5)
        assert choice.arms == names and choice.propensities == pytest.approx([1 / len(names)] * len(names))


def test_impressions_are_shown_on_the_wire() -> None:
    variety = Variety(impressions=3, categories_per_user=1.0, overlap=None, distinct_items=2, dislikes_per_1000_plays=None)
    assert msgspec.json.decode(msgspec.json.encode(variety))["shown"] == 3
