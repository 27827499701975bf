"""What repeats count, against sums as they stand."""
from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_model.decay import HOUR_MS
from online_model.repeats import ACTS, EXPOSURES, KEPT, Repeats

HALF_LIFE_H = 168.0
START = 1_700_000_000_000
ACT = st.tuples(st.integers(1, 3), st.integers(0, 400), st.sampled_from([EXPOSURES, ACTS]))  # item, hour, kind


def left(counted: Sequence[tuple[int, float]], ts: int) -> float:
    return sum(weight * 2.0 ** ((at - ts) / (HALF_LIFE_H * HOUR_MS)) for at, weight in counted)


@given(st.lists(ACT, max_size=40), st.sampled_from([1.0, 2.0, 4.0, 25.0]))
def test_an_act_counts_what_the_users_own_have_left_of_the_limit(acts: list[tuple[int, int, int]], limit: float) -> None:
    repeats, rows, counted = Repeats(limit, HALF_LIFE_H), b"", dict[tuple[int, int], list[tuple[int, float]]]()
    for item, hour, kind in acts:
        ts, own = START + hour * HOUR_MS, counted.setdefault((item, kind), [])
        rows, weight = repeats.add(rows, item, ts, kind)
        assert weight == pytest.approx(max(0.0, 1.0 - left(own, ts) / limit), abs=1e-9)
        own.append((ts, weight))
        newest = max(at for at, _ in own)
        assert left(own, newest) <= limit + 1e-9  # and so at any later time, and of counts that decay faster


def test_the_first_counts_whole_and_ten_thousand_no_more_than_the_limit() -> None:
    repeats, rows, weights = Repeats(4.0, HALF_LIFE_H), b"", list[float]()
    for n in range(10_000):
        rows, weight = repeats.add(rows, 7, START + n * 8_640, ACTS)  # within a day
        weights.append(weight)
    assert weights[:3] == pytest.approx([1.0, 0.75, 0.5625], abs=1e-4)
    assert 3.99 < sum(weights) < 4.5  # what decays within the day may be filled again: 4 * 24 / 168 * ln 2
    assert repeats.add(rows, 8, START, ACTS)[1] == repeats.add(rows, 7, START, EXPOSURES)[1] == 1.0


def test_what_is_taken_back_is_what_is_left_of_one_and_may_be_given_again() -> None:
    repeats = Repeats(4.0, HALF_LIFE_H)
    assert repeats.take_back(b"", 7, START, ACTS) == (b"", 0.0)
    rows, _ = repeats.add(b"", 7, START, ACTS)
    week = START + 168 * HOUR_MS
    rows, weight = repeats.take_back(rows, 7, week, ACTS)
    assert weight == pytest.approx(0.5, rel=1e-9)  # half has decayed
    assert repeats.take_back(rows, 7, week, ACTS)[1] == 0.0
    assert repeats.add(rows, 7, week, ACTS)[1] == 1.0


def test_the_items_with_the_largest_sums_stay() -> None:
    repeats, rows = Repeats(4.0, HALF_LIFE_H), b""
    for n in range(3):
        rows, _ = repeats.add(rows, 1, START + n, ACTS)
    for item in range(2, 2 + 3 * KEPT):
        rows, _ = repeats.add(rows, item, START + 60_000 * item, EXPOSURES)
    assert len(rows) == KEPT * 24
    end = START + HOUR_MS
    weights = [repeats.add(rows, item, end, kind)[1] for item, kind in ((1, ACTS), (2, EXPOSURES), (3 * KEPT + 1, EXPOSURES))]
    assert weights == pytest.approx([1 - 2.3125 / 4, 1.0, 0.75], abs=0.02)  # 1 + .75 + .5625 of item 1; item 2 is forgotten


def test_a_time_of_years_ago_counts_nothing_where_later_ones_fill_the_limit() -> None:
    repeats = Repeats(1.0, HALF_LIFE_H)
    rows, _ = repeats.add(b"", 7, START, ACTS)
    assert repeats.add(rows, 7, 0, ACTS) == (rows, 0.0)
    assert repeats.take_back(rows, 7, 0, ACTS)[1] == 1.0
