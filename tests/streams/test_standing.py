from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from streams.standing import histogram, quantile, rounded


def test_milliseconds_are_rounded_up_in_steps_that_grow_with_them() -> None:
    assert [rounded(ms) for ms in (-3, 0, 7, 99, 100, 101, 996, 1_001, 12_001)] == [0, 0, 7, 99, 100, 105, 1_000, 1_050, 12_500]


@given(st.integers(1, 10_000_000))
def test_rounding_is_up_within_5_percent_and_once(ms: int) -> None:
    assert ms <= rounded(ms) <= ms * 1.05
    assert rounded(rounded(ms)) == rounded(ms)


@given(st.lists(st.integers(0, 99), min_size=1), st.floats(0.01, 1.0), st.integers(0, 20))
def test_quantile_is_that_of_the_sorted_values_with_the_missing_ones_at_infinity(values: list[int], share: float, missing: int) -> None:
    ordered = [*sorted(values), *[math.inf] * missing]
    wanted = ordered[math.ceil(share * len(ordered)) - 1]
    assert quantile(histogram(values), share, missing) == (None if wanted == math.inf else wanted)


def test_there_is_no_quantile_of_nothing() -> None:
    assert quantile({}, 0.5) is None
