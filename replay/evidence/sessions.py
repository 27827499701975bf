"""What was played so far, by session and user, and two orders from it: recent successors, and neighbouring sessions.

Recent successors: what was played right after the last items of the session, each counting less than the one after it. Neighbouring
sessions: recent sessions with the same last items, weighed as in Garg et al., "Sequence and Time Aware Neighborhood for Session-based
Recommendations" (STAN), SIGIR 2019: by how recent a common item is in this session, and an item by its distance from the common one in
the other. Departs: a session's age only says which ones are kept, and what lies before the common item counts a third.
They are no part of the system: `next_play.py` alone uses them. All of the log is in memory.
"""
from __future__ import annotations

from array import array
from collections import Counter, defaultdict, deque
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

Array = np.ndarray

RECENT = 300  # sessions that are kept of an item,
NEIGHBOURS = 300  # and that count for a question, the nearest
LONGEST = 200  # last items of a session that are read
COMMON = 20  # last items of this session that another can have
FADES = 0.5  # exponent, a place: of a common item's age, and of the distance from it
BEFORE = 0.3  # what lies before the common item counts so much of what lies behind
PAST, LINK_FADES, PRIOR = 8, 0.6, 2.0  # successors: last items, each counting so much of the one after it; added to a row's sum


class Scores(NamedTuple):
    """Different items [N], ascending, and the score of each [N]."""

    items: Array
    values: Array

    @staticmethod
    def summed(items: Array, values: Array) -> Scores:
        """Of items that may come more than once.

        >>> Scores.summed(np.array([4, 2, 4]), np.array([1.0, 1.0, 2.0])).best(2).tolist()
        [4, 2]
        """
        different, of = np.unique(items, return_inverse=True)
        return Scores(different, np.bincount(of, values, len(different)))

    def of(self, items: Array) -> Array:
        """Of each item its score, 0 where it has none."""
        if not len(self.items):
            return np.zeros(len(items))
        at = np.minimum(np.searchsorted(self.items, items), len(self.items) - 1)
        return np.where(self.items[at] == items, self.values[at], 0.0)

    def best(self, n: int) -> Array:
        """Items, the highest score first, equal ones by number."""
        return self.items[np.argsort(-self.values, kind="stable")[:n]]

    def among(self, allowed: Array) -> Scores:
        """Of those items [N] alone that are allowed."""
        return Scores(self.items[allowed], self.values[allowed])


NOTHING = Scores(np.zeros(0, np.int64), np.zeros(0))


class Sessions:
    """Plays in their order. Items are numbered as they come, in each domain by themselves."""

    def __init__(self) -> None:
        self.plays = array("q")  # of each item
        self.successors: dict[int, Counter[int]] = defaultdict(Counter)
        self.predecessors: dict[int, Counter[int]] = defaultdict(Counter)
        self.histories: dict[str, array[int]] = defaultdict(lambda: array("q"))  # of users
        self._numbers: dict[tuple[str | None, int], int] = {}
        self._domains = array("q")  # of each item
        self._named: dict[str | None, int] = {}
        self._items: list[array[int]] = []  # of each session
        self._open: dict[Hashable, int] = {}  # the last session of that name
        self._having: dict[int, deque[int]] = defaultdict(lambda: deque(maxlen=RECENT))

    def add(self, session: Hashable, user: str, item: int, domain: str | None, begins: bool) -> None:
        """Count a play of an item's key. `begins`: it is the first of its session."""
        number = self._numbers.setdefault((domain, item), len(self.plays))
        if number == len(self.plays):
            self.plays.append(0)
            self._domains.append(self._named.setdefault(domain, len(self._named)))
        self.plays[number] += 1
        if begins:
            self._open[session] = len(self._items)
            self._items.append(array("q"))
        at = self._open[session]
        if current := self._items[at]:
            self.successors[current[-1]][number] += 1
            self.predecessors[number][current[-1]] += 1
        current.append(number)
        having = self._having[number]
        if not having or having[-1] != at:
            having.append(at)
        self.histories[user].append(number)

    def number(self, item: int, domain: str | None) -> int | None:
        """Of an item that was played."""
        return self._numbers.get((domain, item))

    def current(self, session: Hashable) -> Sequence[int]:
        """The items of the last session of that name, the last one first."""
        return self._items[self._open[session]][: -LONGEST - 1 : -1]

    def of_domain(self, items: Array, domain: str | None) -> Array:
        """Whether each item is of that domain."""
        return np.frombuffer(self._domains, np.int64)[items] == self._named.get(domain, -1) if len(items) else np.zeros(0, bool)

    def neighbours(self, session: Hashable, domain: str | None) -> Scores:
        """Items of neighbouring sessions."""
        weights = dict[int, float]()
        for age, item in enumerate(self.current(session)[:COMMON]):
            weights.setdefault(item, float(np.exp(-FADES * age)))
        having = [np.fromiter(dict.fromkeys(self._having[item]), np.int64) for item in weights]
        weight = np.fromiter(weights.values(), float)
        near = Scores.summed(np.concatenate(having), np.repeat(weight, [len(each) for each in having]))
        near = near.among(near.items != self._open[session])
        if not len(near.items):
            return NOTHING
        sizes = np.array([len(self._items[each]) for each in near.items.tolist()])
        near = Scores(near.items, near.values / np.sqrt(sizes))  # cosine, but for this session's own norm, which all share
        best = near.best(NEIGHBOURS)
        scores = self._around(best, near.of(best), Scores.summed(np.fromiter(weights, np.int64), weight))
        return scores.among(self.of_domain(scores.items, domain))

    def _around(self, sessions: Array, similarity: Array, common: Scores) -> Scores:
        """Items of sessions [S], each by its distance from the weightiest common item, the last one of several."""
        items = [self._items[each][-LONGEST:] for each in sessions.tolist()]
        sizes = np.array([len(each) for each in items])
        flat = np.fromiter(chain.from_iterable(items), np.int64, sizes.sum())
        of, starts = np.repeat(np.arange(len(items)), sizes), np.cumsum(sizes) - sizes
        place = np.arange(len(flat)) - starts[of]
        weight = common.of(flat) + place * 1e-12  # the least weight is exp(-FADES * COMMON) = 5e-5
        shared = weight == np.maximum.reduceat(weight, starts)[of]
        away = place - place[shared][of]
        value = similarity[of] * np.exp(-FADES * np.abs(away)) * np.where(away > 0, 1.0, BEFORE)
        return Scores.summed(flat[~shared], value[~shared])


def linked(rows: dict[int, Counter[int]], last: Sequence[int], fades: float = LINK_FADES) -> Scores:
    """What rows say follows the last items, the last one first: counts as shares of their row, each row fading."""
    found = [(rows[item], fades**age) for age, item in enumerate(last) if item in rows]
    if not found:
        return NOTHING
    items = np.concatenate([np.fromiter(row, np.int64, len(row)) for row, _ in found])
    shares = [np.fromiter(row.values(), float, len(row)) * (fade / (sum(row.values()) + PRIOR)) for row, fade in found]
    return Scores.summed(items, np.concatenate(shares))
