"""The items of one domain, category or catalog that may be shown, in the orders most popular first and newest first."""
from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from math import inf

TOP = 500  # best of an index that are kept in order: more than a request takes, since what a user has just had is skipped
_NONE = (-inf, 0)

Rank = tuple[float, int]  # score, -key: the larger the better, equal scores by key


class TopScores:
    """The best `limit` keys by score, exact under changes; rebuilt from all keys only after many have left.

    >>> top = TopScores(2)
    >>> for key, score in ((1, 0.5), (2, 0.9), (3, 0.7)):
    ...     top.put(key, score)
    >>> list(top.best([]))
    [2, 3]
    """

    def __init__(self, limit: int = TOP) -> None:
        self._limit = limit
        self._rows: list[Rank] = []  # ascending
        self._score: dict[int, float] = {}
        self._floor: Rank = _NONE  # no key outside ranks above this

    def put(self, key: int, score: float) -> None:
        """A key is new or has another score."""
        self.remove(key)
        rank = (score, -key)
        if rank <= self._floor:
            return
        insort(self._rows, rank)
        self._score[key] = score
        if len(self._rows) > self._limit:
            self._floor = self._rows.pop(0)
            del self._score[-self._floor[1]]

    def remove(self, key: int) -> None:
        """A key leaves, if it was there."""
        score = self._score.pop(key, None)
        if score is not None:
            del self._rows[bisect_left(self._rows, (score, -key))]

    def best(self, everything: Iterable[Rank]) -> Iterator[int]:
        """Keys, best first. `everything` is read only where more than half of the kept keys have left since the last rebuild."""
        if self._floor != _NONE and len(self._rows) < self._limit // 2:
            best = heapq.nlargest(self._limit + 1, everything)
            self._floor = best.pop() if len(best) > self._limit else _NONE
            self._rows = best[::-1]
            self._score = {-minus: score for score, minus in best}
        return (-minus for _, minus in reversed(self._rows))


class CandidateIndex:
    """Items that may be shown. `scores` and `published` are shared by all indexes of a catalog."""

    def __init__(self, scores: dict[int, float], published: dict[int, int]) -> None:
        self.items: list[int] = []  # in no particular order: to draw from
        self._scores, self._published = scores, published
        self._place: dict[int, int] = {}  # of an item in `items`
        self._popular, self._newest = TopScores(), TopScores()

    def __contains__(self, key: int) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self.items)

    def add(self, key: int) -> None:
        """An item may be shown from now on."""
        self._place[key] = len(self.items)
        self.items.append(key)
        self._newest.put(key, self._published[key])
        self.update_score(key)

    def remove(self, key: int) -> None:
        """An item may not be shown any more."""
        place, last = self._place.pop(key), self.items.pop()
        if last != key:
            self.items[place] = last
            self._place[last] = place
        self._newest.remove(key)
        self._popular.remove(key)

    def update_score(self, key: int) -> None:
        """An item of this index has another score, or none."""
        score = self._scores.get(key)
        if score is None:
            self._popular.remove(key)
        else:
            self._popular.put(key, score)

    def popular(self) -> Iterator[int]:
        """Most popular first, the best TOP or so; items without a score are left out."""
        return self._popular.best((self._scores[key], -key) for key in self.items if key in self._scores)

    def newest(self) -> Iterator[int]:
        """Newest first, the newest TOP or so."""
        return self._newest.best((self._published[key], -key) for key in self.items)
