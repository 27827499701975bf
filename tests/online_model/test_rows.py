"""Rows against a dict of last uses."""
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online_model.rows import KEPT_SHARE, Rows

EXPIRE, FLOOR = 100, 10


def keys_of(*keys: int) -> np.ndarray:
    return np.array(keys, np.uint64)


def rows(capacity: int = 3) -> Rows:
    return Rows(capacity, EXPIRE, FLOOR)


def test_the_least_recently_used_row_makes_room() -> None:
    #   t     0   1   2   50   60
    #   key   1   2   3   1    4     -> 2 is the oldest
    made = rows()
    for now, key in ((0, 1), (1, 2), (2, 3)):
        made.born(keys_of(key), now)
    made.touch(made.find(keys_of(1)), 50)
    _, lost = made.born(keys_of(4), 60)
    assert lost.tolist() == [2]
    assert (made.find(keys_of(1, 2, 3, 4)) != 0).tolist() == [True, False, True, True]


def test_rows_used_within_the_floor_stay_and_the_new_one_is_refused() -> None:
    made = rows()
    made.born(keys_of(1, 2, 3), 0)
    got, lost = made.born(keys_of(4), FLOOR)  # used 10 ms ago: not older than the floor
    assert (got.tolist(), lost.tolist(), made.refused) == ([0], [], 1)
    got, lost = made.born(keys_of(4), FLOOR + 1)
    assert (got.tolist() != [0], len(lost)) == (True, 1)


def test_what_was_not_used_for_the_expiry_goes() -> None:
    made = rows()
    made.born(keys_of(1, 2), 0)
    made.touch(made.find(keys_of(2)), 1)
    assert made.expire(EXPIRE + 1).tolist() == [1]
    assert len(made) == 1


def test_after_a_silence_a_quarter_of_the_rows_stays_the_most_used_and_goes_once_others_are_used() -> None:
    made, keys = Rows(1_000, EXPIRE, FLOOR, KEPT_SHARE), np.arange(1, 401, dtype=np.uint64)
    made.born(keys, 0)
    for now in range(1, 5):  # key k is used in k % 5 steps more
        made.touch(made.find(keys[keys % 5 >= now]), now)
    often = set(keys[keys % 5 == 4].tolist())  # 80 of 400
    gone = made.expire(10 * EXPIRE)
    assert len(gone) == 300 and len(made) == 100
    assert not often & set(gone.tolist())
    assert (keys[np.isin(keys, gone)] % 5).max() == 3
    assert len(made.expire(20 * EXPIRE)) == 0  # however long it lasts
    made.born(np.arange(1_001, 1_091, dtype=np.uint64), 20 * EXPIRE)
    gone = made.expire(20 * EXPIRE + 1)
    assert len(gone) == 90 and len(often - set(gone.tolist())) == 10


def test_uses_are_restored_and_a_checkpoint_that_lacks_them_counts_one_each() -> None:
    made = Rows(8, EXPIRE, FLOOR, 0.5)
    made.born(keys_of(1, 2, 3, 4), 0)
    made.touch(made.find(keys_of(3, 4)), 0)
    for arrays, stay in ((made.arrays(), [3, 4]), ({k: v for k, v in made.arrays().items() if k != "uses"}, [3, 4])):
        again = Rows(8, EXPIRE, FLOOR, 0.5)
        again.load(arrays)
        again.touch(again.find(keys_of(3, 4)), 1)
        again.expire(10 * EXPIRE)
        assert [k for k in (1, 2, 3, 4) if again.find(keys_of(k))[0]] == stay


def test_a_row_that_was_given_back_is_used_again() -> None:
    made = rows(capacity=2)
    for now in range(0, 10_000, 50):
        made.born(keys_of(now + 1), now)
        assert len(made) <= 2
        assert len(made.keys) <= 3


@given(st.lists(st.tuples(st.integers(0, 40), st.sets(st.integers(1, 12), min_size=1, max_size=5)), max_size=15), st.integers(1, 6))
def test_distinct_keys_have_distinct_rows_within_the_capacity(steps: list[tuple[int, set[int]]], capacity: int) -> None:
    made, now = rows(capacity), 0
    for wait, keys in steps:
        now += wait
        asked = keys_of(*sorted(keys))
        found = made.find(asked)
        made.touch(found[found != 0], now)
        made.born(asked[found == 0], now)
        made.expire(now)
        everything = keys_of(*range(1, 13))
        at = made.find(everything)
        live = at[at != 0]
        assert len(set(live.tolist())) == len(live) == len(made) <= capacity
        assert made.keys[live].tolist() == everything[at != 0].tolist()


def test_restored_rows_give_the_same_numbers_to_the_next_births() -> None:
    made = rows(capacity=8)
    made.born(keys_of(1, 2, 3, 4), 0)
    made.remove(keys_of(3, 1))
    again = rows(capacity=8)
    again.load(made.arrays())
    for one in (made, again):
        one.born(keys_of(9, 8, 7), 5)
    assert made.find(keys_of(*range(1, 10))).tolist() == again.find(keys_of(*range(1, 10))).tolist()
