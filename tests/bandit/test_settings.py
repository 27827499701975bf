"""Settings of the choice among strategies: what cannot be is refused by name, before scipy is loaded."""
from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from bandit.settings import BanditSettings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"experience_rate": 0.0}, r"> 0.0 - at `\$.experience_rate`"),
        ({"revenue_rate": 1.0}, r"< 1.0 - at `\$.revenue_rate`"),
        ({"prior_rounds": 1.9}, r"prior_rounds \* revenue_rate / 2 must be at least 0.05"),  # 1.9 x .05 / 2 = .0475
        ({"prior_rounds": float("nan")}, "prior_rounds"),
        ({"explore": 0.0}, r"> 0.0 - at `\$.explore`"),
        ({"alarm": 1.0}, r"< 1.0 - at `\$.alarm`"),
        ({"retain_after_drift": 1.1}, r"<= 1.0 - at `\$.retain_after_drift`"),
        ({"memory_rounds": 0.5}, r">= 1.0 - at `\$.memory_rounds`"),
        ({"floor_rounds": 0}, r">= 1 - at `\$.floor_rounds`"),
        ({"revenue_floor": -0.1}, r">= 0.0 - at `\$.revenue_floor`"),
        ({"revenue_floor": 1.1}, r"revenue_floor \(1.1\) <= revenue_most \(1.0\) must hold"),
        ({"revenue_most": 0.0}, r"> 0.0 - at `\$.revenue_most`"),
        ({"floor_step": -1.0}, r">= 0.0 - at `\$.floor_step`"),
        ({"revenue_weight": 0.7, "revenue_floor": 0.1}, "not both"),
        ({"arms": "normal"}, r"at `\$.arms`"),
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(wrong, BanditSettings)


def test_bounds_themselves_are_allowed() -> None:
    edge = {"explore": 1, "alarm": 0, "retain_after_drift": 0, "memory_rounds": 1, "revenue_floor": 1, "prior_rounds": 2}
    assert msgspec.convert(edge, BanditSettings) == BanditSettings(**edge)  # type: ignore[arg-type]


def test_settings_are_there_without_scipy() -> None:
    subprocess.run([sys.executable, "-c", "import sys, bandit.settings; assert 'scipy' not in sys.modules"], check=True)
