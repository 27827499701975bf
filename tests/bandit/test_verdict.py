"""Each way in which a log cannot answer has its own reason."""
from __future__ import annotations

import numpy as np
import pytest

from bandit.verdict import Diagnostics, diagnostics, reasons


def said(w: np.ndarray, coverage: float = 1.0, unseen: float = 0.0, used: np.ndarray | None = None) -> list[str]:
    return list(reasons(diagnostics(w, coverage, unseen, 1.0), None if used is None else diagnostics(used, coverage, unseen, 1.0)))


def test_figures_by_hand() -> None:
    found = diagnostics(np.array([1.0, 3.0, 0.0, 0.0]), 0.9, 0.1, 0.8)
    assert found == Diagnostics(n=4, mean_weight=1.0, ess=16 / 10, max_weight=3.0, top_share=0.75, coverage=0.9, unseen=0.1, join_rate=0.8)


def test_a_good_log_answers() -> None:
    assert said(np.ones(150)) == []


@pytest.mark.parametrize(
    ("w", "coverage", "unseen", "reason"),
    [
        (np.zeros(0), 0.0, 0.0, "no row has a propensity"),
        (np.ones(150), 0.9, 0.0, "only 90.0% of rows have a propensity"),
        (np.ones(150), 1.0, 0.03, "3.0% of the policy's probability is on arms that the log never showed"),
        (np.ones(99), 1.0, 0.0, "the effective sample is 99.0 of 99 rows"),
        (np.full(150, 0.75), 1.0, 0.0, "the mean weight is 0.750"),
        (np.concatenate((np.ones(400), [60.0])), 1.0, 0.0, "one row carries 13.0% of all weight (w = 60)"),
    ],
)
def test_each_reason(w: np.ndarray, coverage: float, unseen: float, reason: str) -> None:
    assert any(each.startswith(reason) for each in said(w, coverage, unseen))


def test_an_arm_that_was_never_drawn_has_no_weight_at_all() -> None:
    small, far = said(np.zeros(500))
    assert small.startswith("the effective sample is 0.0 of 500 rows") and far.startswith("the mean weight is 0.000")


def test_an_estimator_is_refused_by_the_weights_that_it_uses() -> None:
    """One row of 10⁹ among 400 of 1: too much as it is, a 40th of the weight cut at 10, nothing where it is left out."""
    w = np.concatenate((np.ones(400), [1e9]))
    assert [each.partition(" ")[0] for each in said(w)] == ["one", "the", "the"]
    assert said(w, used=np.minimum(w, 10.0)) == [] == said(w, used=np.where(w > 5, 0.0, w))


def test_what_the_log_does_not_reach_no_change_of_weights_mends() -> None:
    far = np.full(400, 0.5)
    assert [each.partition(",")[0] for each in said(far, used=far)] == ["the mean weight is 0.500"]
    assert said(np.ones(400), used=np.full(400, 0.5)) == []  # left out by the estimator itself: its bias
    assert any(each.startswith("2.0% of the policy's") for each in said(np.ones(400), unseen=0.02, used=np.full(400, 0.5)))


def test_weights_that_are_all_left_out_leave_the_model_alone() -> None:
    assert said(np.full(400, 1.0), used=np.zeros(400)) == []
    assert said(np.zeros(400), used=np.zeros(400)) != []
