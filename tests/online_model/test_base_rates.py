"""Running base rates by hand."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.base_rates import HALF_LIFE_MS, PRIOR, PRIOR_N, BaseRates


def test_before_anything_was_seen_the_prior_holds() -> None:
    assert BaseRates().rates().tolist() == pytest.approx(PRIOR)


def test_counts_fade_with_event_time() -> None:
    base = BaseRates()
    base.add(80, np.array([40.0, 0, 0, 0, 0]), 1_000)
    base.add(10, np.array([10.0, 0, 0, 0, 0]), 1_000 + int(HALF_LIFE_MS))
    n = (PRIOR_N + 80) / 2 + 10
    assert base.rates()[0] == pytest.approx(((PRIOR_N * PRIOR[0] + 40) / 2 + 10) / n)


def test_after_a_long_silence_one_example_is_not_all_that_is_known() -> None:
    base = BaseRates()
    base.add(1_000, np.full(5, 500.0), 1_000)
    base.add(1, np.array([1.0, 0, 0, 0, 0]), 1_000 + 200 * int(HALF_LIFE_MS))
    assert base.rates().tolist() == pytest.approx([(19 * PRIOR[0] + 1) / 20, *(19 * rate / 20 for rate in PRIOR[1:])])


def test_a_late_record_does_not_make_counts_grow() -> None:
    base = BaseRates()
    base.add(100, np.zeros(5), 1_000_000)
    base.add(1, np.zeros(5), 0)
    assert base.n == pytest.approx(PRIOR_N + 101)


def test_an_undone_positive_never_makes_a_rate_negative() -> None:
    base = BaseRates()
    base.add(0, -np.ones(5), 1)
    assert (base.rates() > 0).all()
