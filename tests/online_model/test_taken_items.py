"""What was taken last against a list, intervals against algorithm 2 of the paper in a loop, inclusion against counting."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.features import EMBEDDING
from online_model.taken_items import CONTENT, MEMORY, RECENT, TakenItems


def content(items: np.ndarray) -> np.ndarray:
    out = np.zeros((len(items), CONTENT), np.uint64)
    out[:, 0], out[:, 1] = items, items + 10_000
    return out


def embedded(items: np.ndarray) -> np.ndarray:
    return np.repeat(items[:, None].astype(np.float32), EMBEDDING, 1)


def test_the_ring_has_what_was_taken_last_and_each_item_once() -> None:
    rng, taken, listed = np.random.default_rng(1), TakenItems(), list[int]()
    for n in (3, 0, 500, 40, 1500, 7):
        items = rng.integers(1, 400, n).astype(np.uint64)
        taken.take(content(items), embedded(items))
        listed += items.tolist()
        more = np.array([5, 5, 999], np.uint64)
        found, embeddings = taken.different(content(more), embedded(more))
        assert found[:, 0].tolist() == sorted({*listed[-RECENT:], *more.tolist()})
        assert (found[:, 1] == found[:, 0] + 10_000).all() and (embeddings == embedded(found[:, 0])).all()
    taken.forget(np.array([listed[-1]], np.uint64))
    none = np.zeros(0, np.uint64)
    assert listed[-1] not in taken.different(content(none), embedded(none))[0][:, 0]


def test_intervals_are_means_at_first_and_then_those_of_the_paper() -> None:
    rng, taken = np.random.default_rng(2), TakenItems()
    last, seen, interval = dict[int, int](), dict[int, int](), dict[int, float]()
    for step in range(1, 600):
        item = int(rng.integers(1, 9) * rng.integers(1, 9))
        taken.take(content(np.array([item], np.uint64)), np.zeros((1, EMBEDDING), np.float32))
        between, n = step - last.get(item, 0), seen.get(item, 0) + 1
        mean = interval.get(item, 0.0)
        interval[item] = mean + (between - mean) / n if n < 1 / MEMORY else (1 - MEMORY) * mean + MEMORY * between
        last[item], seen[item] = step, n
    assert max(seen.values()) > 2 / MEMORY
    np.testing.assert_allclose(taken.interval[list(interval)], list(interval.values()))


def test_inclusion_is_how_often_an_item_is_there() -> None:
    rng, taken = np.random.default_rng(3), TakenItems()
    items = np.arange(1, 3001, dtype=np.uint64)
    share = 1 / items.astype(float)
    draws = rng.choice(items, 60_000, p=share / share.sum())
    there, looks = np.zeros(len(items)), 0
    for at in range(0, len(draws), 100):
        taken.take(content(draws[at : at + 100]), np.zeros((100, EMBEDDING), np.float32))
        if at >= 20_000:
            there[taken.different(content(draws[:0]), embedded(draws[:0]))[0][:, 0].astype(int) - 1] += 1
            looks += 1
    groups = (slice(0, 3), 0.05), (slice(10, 40), 0.2), (slice(100, 400), 0.2), (slice(1000, 3000), 0.1)  # the last: some five times each
    for group, within in groups:
        assert taken.inclusion(items[group]).mean() == pytest.approx((there / looks)[group].mean(), rel=within)
    assert taken.inclusion(np.array([10**9], np.uint64))[0] == pytest.approx(RECENT / 60_001, rel=0.01)
