"""What a learner runs by, from the tree of settings."""
from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.core.learning.strategy_bandit import StrategyBandit
from streams.learner.settings import LearnerProcessSettings
from streams.settings import Settings
from streams.settings import learner as config_of


def test_the_learner_chooses_among_what_pages_and_lists_are_set_to(tmp_path: Path) -> None:
    tree = {"pages": {"revenue_blends": [0.5]}, "recommend": {"chosen": ["ranked", "popular"]}, "bandit": {"explore": 0.2}}
    of = config_of(msgspec.convert(tree, Settings))
    assert of.arms == {"page": ("blend-0.5", "tail", "explore", "fixed"), "list": ("ranked", "popular")}
    strategy_bandit = StrategyBandit(of.arms, of.bandit)
    assert (strategy_bandit.policies["list"].names, strategy_bandit.policies["page"].settings.explore) == (("ranked", "popular"), 0.2)


@pytest.mark.parametrize("bad", [{"checkpoint_every_s": 0.0}, {"keep": 0}, {"threads": 0}, {"dense_every_s": -1.0}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"Expected `(int|float)` (>=|>) "):
        msgspec.convert(bad, LearnerProcessSettings)
