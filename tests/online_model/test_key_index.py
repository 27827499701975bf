"""The index against a dict, in any order of births and deaths."""
from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online_model.key_index import KeyIndex

SPREAD_INVERSE = pow(0x9E3779B97F4A7C15, -1, 2**64)
crowded = st.integers(1, 60).map(lambda n: n * SPREAD_INVERSE % 2**64)  # all begin in one cell
actions = st.lists(st.tuples(st.booleans(), st.sets(crowded | st.integers(1, 2**64 - 1), max_size=20)), max_size=12)


@given(actions)
def test_index_answers_as_a_dict_does(steps: list[tuple[bool, set[int]]]) -> None:
    index, known, births = KeyIndex(), dict[int, int](), 0
    for add, keys in steps:
        chosen = [k for k in sorted(keys) if (k in known) != add]
        array = np.array(chosen, np.uint64)
        if add:
            rows = np.arange(births, births + len(chosen))
            births += len(chosen)
            index.insert(array, rows)
            known |= dict(zip(chosen, rows.tolist(), strict=True))
        else:
            index.remove(array)
            for key in chosen:
                del known[key]
        asked = np.array([0, *keys, *known], np.uint64)
        assert index.find(asked).tolist() == [known.get(int(k), -1) for k in asked]


def test_ten_thousand_keys_never_collide() -> None:
    keys = np.random.default_rng(1).integers(1, 2**63, 10_000).astype(np.uint64)
    index = KeyIndex()
    for start in range(0, len(keys), 137):
        part = keys[start : start + 137]
        index.insert(part, np.arange(start, start + len(part)))
    assert index.find(keys).tolist() == list(range(10_000))


def test_memory_levels_off_where_keys_come_and_go() -> None:
    index = KeyIndex()
    for start in range(1, 50_001, 100):
        keys = np.arange(start, start + 100).astype(np.uint64)
        index.insert(keys, np.arange(100))
        index.remove(keys)
    assert len(index._keys) == 1024  # the smallest there is: 100 live keys at a time
