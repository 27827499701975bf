"""Hashes of keys against SplitMix64 written in Python's own integers; samples that only shrink; numbers that follow from a key alone."""
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online_model.mixing import mixed, sampled, uniform

WORD = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
keys = st.lists(st.integers(1, WORD), min_size=1, max_size=20, unique=True)


def finaliser(key: int) -> int:
    """Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014: mix64variant13."""
    key = (key ^ key >> 30) * 0xBF58476D1CE4E5B9 & WORD
    key = (key ^ key >> 27) * 0x94D049BB133111EB & WORD
    return key ^ key >> 31


@given(keys)
def test_it_is_splitmix64(values: list[int]) -> None:
    assert mixed(np.array(values, np.uint64)).tolist() == [finaliser(value) for value in values]


def test_the_first_numbers_of_splitmix64_with_seed_0() -> None:
    """As published with the reference implementation (Vigna, splitmix64.c)."""
    states = np.arange(1, 4, dtype=np.uint64) * np.uint64(GOLDEN)
    assert mixed(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(keys, st.integers(0, 63))
def test_a_sample_holds_the_keys_whose_first_bits_are_zeros(values: list[int], halvings: int) -> None:
    wanted = [finaliser(value) >> (64 - halvings) == 0 for value in values]
    assert sampled(np.array(values, np.uint64), halvings).tolist() == wanted
    assert not sampled(np.array([0, *values], np.uint64), 64).any()


def test_each_halving_keeps_about_a_half() -> None:
    every = np.arange(1, 100_001, dtype=np.uint64)
    for halvings in range(5):
        expected = 100_000 / 2**halvings
        assert abs(sampled(every, halvings).sum() - expected) <= 4 * (expected * (1 - 0.5**halvings)) ** 0.5


def test_rows_are_uniform_and_those_of_their_key_and_seed_alone() -> None:
    some = np.arange(1, 20_001, dtype=np.uint64)
    rows = uniform(some, 3, seed=1)
    assert (rows.dtype, rows.shape) == (np.float32, (20_000, 3))
    assert np.abs(rows).max() <= 1
    assert np.abs(rows.mean(0)).max() < 4 * (1 / 3 / 20_000) ** 0.5
    assert np.abs(rows.var(0) - 1 / 3).max() < 0.01
    np.testing.assert_array_equal(uniform(some[::-1], 3, seed=1), rows[::-1])
    assert (uniform(some, 3, seed=2) != rows).mean() > 0.99
