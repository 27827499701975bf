"""Every figure of the policy's benchmark can be made, and a rate is that of the median run."""
from __future__ import annotations

import pytest

from benchmarks import policy


def test_every_figure_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"BATCH": 50, "ANSWERS": 20, "LEARN_EVERY": 10, "PAGES": 20, "EARN_EVERY": 10}.items():
        monkeypatch.setattr(policy, name, value)
    figures = list(policy.measure())
    assert len(figures) == 4
    assert all(figure.ours > 0 and figure.theirs > 0 for figure in figures)


def test_a_rate_is_that_of_the_median_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 1.0, 1.0, 3.0, 3.0, 13.0])  # runs of 1, 2 and 10 s
    monkeypatch.setattr("benchmarks.policy.time.perf_counter", lambda: next(ticks))
    assert policy._rate(8, lambda: None, 3) == 4.0
