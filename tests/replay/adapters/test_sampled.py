"""What is drawn beside a taken item: of its domain, as often taken, not the user's, and the same every time."""
from __future__ import annotations

from collections import Counter

import numpy as np

from replay.adapters.sampled import BESIDE, Unshown

SONGS = dict.fromkeys([f"s{k}" for k in range(40)], "song") | dict.fromkeys([f"v{k}" for k in range(40)], "video")


def test_list_holds_the_item_once_and_others_of_its_domain_that_the_user_had_not_been_shown() -> None:
    unshown = Unshown(SONGS)
    first = unshown.around("u", "s1")
    second = unshown.around("u", "s2")
    assert len(first) == len(set(first)) == BESIDE + 1 and first.count("s1") == 1
    assert all(item.startswith("s") for item in first + second)
    assert not (set(first) - {"s1", "s2"}) & set(second)
    assert set(unshown.around("other", "v3")) <= {f"v{k}" for k in range(40)}


def test_drawn_items_were_taken_as_often_as_the_taken_one() -> None:
    # s0 … s9 once each, by as many users: a further one of them meets only the other nine
    unshown = Unshown(SONGS)
    for k in range(10):
        assert set(unshown.around(f"u{k}", f"s{k}")) & {f"s{j}" for j in range(k)} == set()
    assert set(unshown.around("v", "s4")) <= {f"s{k}" for k in range(10)}


def test_places_and_draws_are_even() -> None:
    # 2,000 lists of five: every place expects 400 (standard deviation 18), every one of 40 songs 2,000 * 4 / 39 draws
    places, drawn = Counter[int](), Counter[str]()
    for seed in range(2_000):
        shown = Unshown(SONGS, seed).around("u", "s0")
        places[shown.index("s0")] += 1
        drawn.update(item for item in shown if item != "s0")
    assert np.abs(np.array([places[k] for k in range(5)]) - 400).max() < 90
    assert len(drawn) == 39 and np.abs(np.array(list(drawn.values())) - 2_000 * 4 / 39).max() < 70


def test_small_catalog_gives_what_there_is() -> None:
    unshown = Unshown({"a": "x", "b": "x", "c": "y"})
    assert sorted(unshown.around("u", "a")) == ["a", "b"]
    assert unshown.around("u", "c") == ["c"]


def test_same_seed_same_lists_and_another_seed_others() -> None:
    def lists(seed: int) -> list[list[str]]:
        unshown = Unshown(SONGS, seed)
        return [unshown.around(f"u{k % 3}", f"s{k % 7}") for k in range(30)]

    assert lists(1) == lists(1) != lists(2)
