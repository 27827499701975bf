"""Places of domains: bounded, first come, rows of a user's own in each."""
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online_model.domains import Domains

some_keys = st.lists(st.one_of(st.integers(0, 9), st.just(2**64 - 1)), max_size=12)


def keys_of(keys: list[int]) -> np.ndarray:
    return np.array(keys, np.uint64)


def learned(*batches: list[int], places: int = 4) -> Domains:
    made = Domains(places)
    for batch in batches:
        made.learn(keys_of(batch))
    return made


@given(st.lists(some_keys, max_size=5), st.integers(1, 6), some_keys)
def test_places_go_by_first_appearance_and_the_last_is_for_the_rest(batches: list[list[int]], places: int, asked: list[int]) -> None:
    order = list(dict.fromkeys(key for batch in batches for key in batch))[: places - 1]
    expected = [order.index(key) if key in order else places - 1 for key in asked]
    made = learned(*batches, places=places)
    assert made.places(keys_of(asked)).tolist() == expected
    assert made.n == len(order) and len(made.keys) == places


def test_places_keep_the_shape_of_the_keys() -> None:
    made = learned([5, 7])
    assert made.places(keys_of([5, 6, 7, 0]).reshape(2, 2)).tolist() == [[0, 3], [1, 3]]
    assert Domains(4).places(np.zeros((2, 1), np.uint64)).tolist() == [[3], [3]]


def test_no_domain_named_is_a_domain_like_the_others() -> None:
    assert learned([0, 5]).places(keys_of([0, 5, 6])).tolist() == [0, 1, 3]


@given(st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=8, unique=True), some_keys)
def test_a_user_has_rows_of_his_own_distinct_by_place(users: list[int], domains: list[int]) -> None:
    rows = learned(domains, places=6).own_rows(keys_of(users))
    assert rows.shape == (len(users), 6)
    assert len(np.unique(rows)) == rows.size  # 64 bits: two equal ones would be no accident
    assert not np.isin(keys_of(users), rows).any() and (rows != 0).all()


def test_no_user_has_no_rows() -> None:
    assert learned([5]).own_rows(keys_of([0, 3]))[0].tolist() == [0, 0, 0, 0]


def test_a_users_row_goes_with_the_domain_and_the_last_place_keeps_its_own() -> None:
    users = keys_of([11, 12])
    one, other = learned([5, 7]), learned([5, 8])
    same = one.own_rows(users) == other.own_rows(users)
    assert same.all(0).tolist() == [True, False, True, True]
    before, after = learned([5]), learned([5], [6, 7, 8, 9])
    assert (before.own_rows(users) == after.own_rows(users)).all(0).tolist() == [True, False, False, True]


@given(st.lists(some_keys, max_size=4), st.lists(some_keys, max_size=4))
def test_restored_goes_on_as_if_never_stopped(before: list[list[int]], after: list[list[int]]) -> None:
    made, again = learned(*before), Domains(4)
    again.load(made.arrays())
    for one in (made, again):
        for batch in after:
            one.learn(keys_of(batch))
    assert (again.keys.tolist(), again.n) == (made.keys.tolist(), made.n)


def test_a_checkpoint_does_not_move_with_the_domains() -> None:
    made = learned([5])
    saved = made.arrays()
    made.learn(keys_of([6]))
    assert (saved["keys"].tolist(), int(saved["n"])) == ([5, 0, 0, 0], 1)
