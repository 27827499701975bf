"""SLOPE stops where bias shows."""
from __future__ import annotations

from bandit.slope import slope


def test_the_last_candidate_that_meets_all_earlier_ones() -> None:
    # intervals: [-1, 3], [.2, 1.8], [1.1, 1.9], [2.1, 2.3]: the fourth meets the first, not the second
    assert slope([1.0, 1.0, 1.5, 2.2], [2.0, 0.8, 0.4, 0.1]) == 2


def test_candidates_that_agree_give_the_narrowest() -> None:
    assert slope([0.5, 0.5, 0.5], [0.3, 0.2, 0.1]) == 2


def test_a_candidate_behind_the_first_that_fails_is_not_taken() -> None:
    assert slope([1.0, 5.0, 1.0], [0.1, 0.1, 0.1]) == 0


def test_an_interval_is_never_wider_than_an_earlier_one() -> None:
    # [.8, 1.2], then [1.3, 1.7] at the width of the first: wider by its own measure it would meet it
    assert slope([1.0, 1.5], [0.2, 1.0]) == 0
