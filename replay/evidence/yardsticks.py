"""Naive orders that a slate is compared with: the most played so far, and what was played most right after the last play.

Plain counts of all users' plays, nothing fades. They are no part of the system: `next_play.py` alone uses them.
"""
from __future__ import annotations

from heapq import nlargest

from streams.core.serving.index import TopScores


class MostPlayed:
    """The `k` items of a domain that were played most often; ties by key.

    >>> most = MostPlayed(1)
    >>> for item in (7, 8, 8): most.add(item, None)
    >>> most.best(None)
    [8]
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._counts: dict[tuple[str | None, int], int] = {}
        self._tops: dict[str | None, TopScores] = {}

    def add(self, item: int, domain: str | None) -> None:
        """Count a play."""
        count = self._counts[domain, item] = self._counts.get((domain, item), 0) + 1
        self._tops.setdefault(domain, TopScores(self._k)).put(item, count)

    def best(self, domain: str | None) -> list[int]:
        """Keys of items, most played first."""
        top = self._tops.get(domain)
        return list(top.best(())) if top else []  # counts only grow: nothing ever leaves that would have to be looked for


class Successors:
    """The `k` items of a domain that were played most often right after an item; ties in the order in which they first came.

    >>> successors = Successors(1)
    >>> for last, item in ((1, 2), (1, 3), (1, 3)): successors.add(last, item, None)
    >>> successors.best(1, None)
    [3]
    """

    def __init__(self, k: int) -> None:
        self._k = k
        self._counts: dict[tuple[int, str | None], dict[int, int]] = {}

    def add(self, last: int, item: int, domain: str | None) -> None:
        """Count a play right after one of `last`."""
        counts = self._counts.setdefault((last, domain), {})
        counts[item] = counts.get(item, 0) + 1

    def best(self, last: int, domain: str | None) -> list[int]:
        """Keys of items, most played first."""
        counts = self._counts.get((last, domain), {})
        return nlargest(self._k, counts, key=counts.__getitem__)
