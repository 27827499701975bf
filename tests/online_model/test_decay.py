"""A half-life halves, two of them quarter, and decay over two spans is that over both."""
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.decay import DAY_MS, HOUR_MS, decay_factor


def test_a_half_life_halves_exactly_and_three_leave_an_eighth() -> None:
    assert DAY_MS == 24 * HOUR_MS == 24 * 60 * 60 * 1000
    assert [decay_factor(n * DAY_MS, DAY_MS) for n in range(4)] == [1, 1 / 2, 1 / 4, 1 / 8]


def test_time_that_runs_backwards_takes_nothing_away() -> None:
    assert decay_factor(-HOUR_MS, DAY_MS) == decay_factor(0, DAY_MS) == 1


@given(st.integers(0, 30 * DAY_MS), st.integers(0, 30 * DAY_MS), st.floats(HOUR_MS, 30 * DAY_MS))
def test_decay_over_two_spans_is_that_over_both(first: int, second: int, half_life_ms: float) -> None:
    both = decay_factor(first, half_life_ms) * decay_factor(second, half_life_ms)
    assert decay_factor(first + second, half_life_ms) == pytest.approx(both, rel=1e-9)
