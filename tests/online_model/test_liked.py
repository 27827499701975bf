"""Weights of liked behaviours against a loop, and what may not change them."""
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.liked import shares

DAY_S = 86_400.0
YEAR_S = 365 * DAY_S

behaviours = st.tuples(st.integers(0, 2), st.floats(0, 60 * DAY_S, width=32), st.booleans())
users = st.lists(st.lists(behaviours, min_size=3, max_size=3), min_size=1, max_size=4)


def columns(rows: list[list[tuple[int, float, bool]]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    place, age, there = (np.array([[b[k] for b in row] for row in rows]) for k in range(3))
    return place.astype(np.int64), age.astype(np.float32), there.astype(bool)


@given(users)
def test_weights_are_the_loops(rows: list[list[tuple[int, float, bool]]]) -> None:
    got = shares(*columns(rows), places=4, half_life_s=7 * DAY_S)
    for n, row in enumerate(rows):
        for place in range(4):
            raw = [2.0 ** (-age / (7 * DAY_S)) * (there and at == place) for at, age, there in row]
            want = [each / sum(raw) for each in raw] if sum(raw) else raw
            assert got[n, place] == pytest.approx(want, abs=2e-6)  # float32


@given(users, st.sampled_from([DAY_S, YEAR_S, 14 * YEAR_S]))
def test_time_away_takes_nothing(rows: list[list[tuple[int, float, bool]]], away_s: float) -> None:
    """Weights by age alone would underflow: a user who comes back after months would be known to like nothing."""
    place, age, there = columns(rows)
    age = np.round(age)
    later = age.astype(np.float64) + away_s
    np.testing.assert_allclose(
        shares(place, later, there, 4, 7 * DAY_S), shares(place, age.astype(np.float64), there, 4, 7 * DAY_S), atol=1e-6
    )


def test_a_domain_that_was_left_long_ago_is_weighed_by_itself() -> None:
    place, there = np.array([[0, 1, 1]]), np.ones((1, 3), bool)
    age = np.array([[0.0, 5 * YEAR_S, 5 * YEAR_S + 7 * DAY_S]])
    assert shares(place, age, there, 2, 7 * DAY_S)[0] == pytest.approx(np.array([[1, 0, 0], [0, 2 / 3, 1 / 3]]), abs=1e-6)
