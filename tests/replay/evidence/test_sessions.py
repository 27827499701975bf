"""Successors and neighbouring sessions against loops over dictionaries."""
from __future__ import annotations

from collections import Counter, defaultdict
from math import exp, sqrt

import numpy as np
import pytest

from replay.evidence.sessions import BEFORE, COMMON, PAST, RECENT, Scores, Sessions, linked

Log = list[tuple[int, int]]  # session, item


def log_of(seed: int, plays: int, sessions: int = 12, items: int = 9) -> Log:
    rng = np.random.default_rng(seed)
    return [(int(rng.integers(sessions)), 100 + int(rng.integers(items))) for _ in range(plays)]


def filled(log: Log) -> Sessions:
    out, begun = Sessions(), set[int]()
    for session, item in log:
        out.add(session, f"u{session % 3}", item, None, session not in begun)
        begun.add(session)
    return out


def by_item(sessions: Sessions, scores: Scores, items: range) -> dict[int, float]:
    numbers = {sessions.number(item, None): item for item in items}
    return {numbers[number]: value for number, value in zip(scores.items.tolist(), scores.values.tolist(), strict=True)}


def sequences(log: Log) -> dict[int, list[int]]:
    out = defaultdict(list)
    for session, item in log:
        out[session].append(item)
    return out


def test_recent_successors_are_the_fading_shares_of_what_followed() -> None:
    log = log_of(1, 150)
    sessions, of = filled(log), sequences(log)
    after: dict[int, Counter[int]] = defaultdict(Counter)
    for items in of.values():
        for one, two in zip(items, items[1:], strict=False):
            after[one][two] += 1
    expected: dict[int, float] = defaultdict(float)
    for age, item in enumerate(of[4][: -PAST - 1 : -1]):
        for other, count in after[item].items():
            expected[other] += 0.6**age * count / (after[item].total() + 2)
    got = linked(sessions.successors, sessions.current(4)[:PAST])
    assert by_item(sessions, got, range(100, 109)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [2, 3])
def test_neighbours_are_weighed_by_recency_likeness_and_place(seed: int) -> None:
    log = log_of(seed, 120)
    sessions, of = filled(log), sequences(log)
    weights: dict[int, float] = {}
    for age, item in enumerate(of[5][: -COMMON - 1 : -1]):
        weights.setdefault(item, exp(-0.5 * age))
    expected: dict[int, float] = defaultdict(float)
    for other, items in of.items():
        if other == 5 or not set(items) & set(weights):
            continue
        similarity = sum(weights.get(item, 0.0) for item in set(items)) / sqrt(len(items))
        _, at = max((weights[item], place) for place, item in enumerate(items) if item in weights)
        for place, item in enumerate(items):
            if place != at:
                expected[item] += similarity * exp(-0.5 * abs(place - at)) * (1.0 if place > at else BEFORE)
    assert by_item(sessions, sessions.neighbours(5, None), range(100, 109)) == pytest.approx(expected)


def test_only_the_latest_sessions_of_an_item_are_neighbours() -> None:
    log = [(0, 1), (0, 2)] + [play for n in range(1, RECENT + 1) for play in ((n, 1), (n, 3))] + [(9_999, 1)]
    sessions = filled(log)
    assert by_item(sessions, sessions.neighbours(9_999, None), range(1, 4)).keys() == {3}


def test_items_of_another_domain_link_but_are_not_offered() -> None:
    sessions = Sessions()
    for name in ("s", "t"):
        for n, (item, domain) in enumerate(((1, "song"), (2, "video"), (3, "song"))):
            sessions.add(name, name, item, domain, n == 0)
    sessions.add("now", "u", 1, "song", True)
    near = sessions.neighbours("now", "song")
    assert near.items.tolist() == [sessions.number(3, "song")]
    assert sessions.neighbours("now", "film").items.tolist() == []


def test_session_alone_has_no_neighbours() -> None:
    sessions = filled([(1, 100), (1, 101)])
    assert len(sessions.neighbours(1, None).items) == 0 and sessions.number(5, None) is None
