"""The items of one domain, category, catalog or filter that may be shown, in the orders most popular first and newest first."""
from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from math import inf
from typing import Any

from streams.core.join.catalog import CatalogItem
from streams.core.shaping.item_filter import ItemPredicate

TOP = 500  # best of an index that are kept in order: more than a request takes, since what a user has just had is skipped
FILTERS = 32  # whose items are kept as an index: as many as a product has shelves and stations that are asked for at once
_NONE = (-inf, 0)
_ALL = (inf, 0)

NO_VARIANTS: Mapping[int, int] = {}

Rank = tuple[float, int]  # score, -key: the larger the better, equal scores by key


class TopScores:
    """The best `limit` keys by score, exact under changes; rebuilt from all keys only after many have left.

    >>> top = TopScores(2)
    >>> for key, score in ((1, 0.5), (2, 0.9), (3, 0.7)):
    ...     top.put(key, score)
    >>> list(top.best([]))
    [2, 3]
    """

    def __init__(self, limit: int = TOP, unread: bool = False) -> None:
        """`unread`: there are keys already, which the first call of `best` reads."""
        self._limit = limit
        self._rows: list[Rank] = []  # ascending
        self._score: dict[int, float] = {}
        self._floor: Rank = _ALL if unread else _NONE  # no key outside ranks above this

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
        if self._floor == _ALL or (self._floor != _NONE and len(self._rows) < self._limit // 2):
            best = heapq.nlargest(self._limit + 1, everything)
            self._floor = best.pop() if len(best) > self._limit else _NONE
            self._rows = best[::-1]
            self._score = {-minus: score for score, minus in best}
        return (-minus for _, minus in reversed(self._rows))


class CandidateIndex:
    """Items that may be shown. `scores`, `published` and `originals` are shared by all indexes of a catalog.

    Of variants of one item the index offers one: the original if it has it, else the one with the smallest key. So each song is
    drawn and counted once. The others wait behind it. An item that is a variant itself is nobody's original: chains are not followed.
    """

    def __init__(
        self, scores: dict[int, float], published: dict[int, int], originals: Mapping[int, int] = NO_VARIANTS, items: Iterable[int] = ()
    ) -> None:
        """`originals`: of variants, the item that each is one of. `items`: the first ones; their orders are made when asked for."""
        first = list(items)
        variants = [key for key in first if key in originals] if originals else []
        self._originals = originals
        self._waiting: dict[int, set[int]] = {}  # by original: variants that are not offered, since another one is
        self._offered: dict[int, int] = {}  # by original: the variant that is offered in its place
        self._items: list[int] = [key for key in first if key not in originals] if variants else first
        self._scores, self._published = scores, published
        self._place: dict[int, int] = {key: n for n, key in enumerate(self._items)}  # of an item in `items`
        self._dated: list[Rank] | None = None  # nobody has asked for it
        unread = bool(self._items)
        self._popular, self._newest = TopScores(unread=unread), TopScores(unread=unread)
        for key in variants:
            self.add(key)

    def __contains__(self, key: int) -> bool:
        return key in self._place

    def __len__(self) -> int:
        return len(self._items)

    @property
    def items(self) -> Sequence[int]:
        """In no particular order: to draw from."""
        return self._items

    def holds(self, key: int) -> bool:
        """Whether it has this item, offered or waiting behind another variant."""
        return key in self._place or key in self._waiting.get(self._originals.get(key, key), ())

    def all_items(self) -> Iterable[int]:
        """Offered ones and those waiting behind them."""
        return chain(self._items, *self._waiting.values())

    def offered(self, key: int) -> int:
        """What is offered in place of an item: itself, or another variant; where there is none, the item."""
        original = self._originals.get(key, key)
        return key if key in self._place else self._offered.get(original, original)

    def add(self, key: int) -> None:
        """An item may be shown from now on."""
        original, instead = self._originals.get(key), self._offered.get(self._originals.get(key, key))
        if original is None:  # it is one itself
            if instead is not None:
                self._take(instead)
                self._waiting.setdefault(key, set()).add(instead)
                del self._offered[key]
        elif (original in self._place and original not in self._originals) or (instead is not None and instead < key):
            self._waiting.setdefault(original, set()).add(key)
            return
        else:
            if instead is not None:
                self._take(instead)
                self._waiting.setdefault(original, set()).add(instead)
            self._offered[original] = key
        self._offer(key)

    def remove(self, key: int) -> None:
        """An item may not be shown any more."""
        original = self._originals.get(key, key)
        waiting = self._waiting.get(original, set())
        if key in waiting:
            waiting.discard(key)
        else:
            self._take(key)
            self._offered.pop(original, None)
            if waiting:
                self._offered[original] = min(waiting)
                waiting.discard(self._offered[original])
                self._offer(self._offered[original])
        if not waiting:
            self._waiting.pop(original, None)

    def _offer(self, key: int) -> None:
        self._place[key] = len(self._items)
        self._items.append(key)
        if self._dated is not None:
            insort(self._dated, (self._published[key], -key))
        self._newest.put(key, self._published[key])
        self.update_score(key)

    def _take(self, key: int) -> None:
        place, last = self._place.pop(key), self._items.pop()
        if last != key:
            self._items[place] = last
            self._place[last] = place
        if self._dated is not None:
            del self._dated[bisect_left(self._dated, (self._published[key], -key))]
        self._newest.remove(key)
        self._popular.remove(key)

    def update_score(self, key: int) -> None:
        """An item of this index has another score, or none."""
        if key not in self._place:
            return  # it waits
        score = self._scores.get(key)
        if score is None:
            self._popular.remove(key)
        else:
            self._popular.put(key, score)

    def by_publication(self) -> Sequence[Rank]:
        """All items with their times, oldest first; in this order from the first call on."""
        if self._dated is None:
            self._dated = sorted([(self._published[key], -key) for key in self._items])
        return self._dated

    def popular(self) -> Iterator[int]:
        """Most popular first, the best TOP or so; items without a score are left out."""
        return self._popular.best((self._scores[key], -key) for key in self._items if key in self._scores)

    def newest(self) -> Iterator[int]:
        """Newest first, the newest TOP or so."""
        return self._newest.best((self._published[key], -key) for key in self._items)


class PublishedSince(CandidateIndex):
    """The items of an index that were published at a time or later: a view of it, of this moment."""

    def __init__(self, index: CandidateIndex, published_ms: int) -> None:
        self._index, self._scores, self._published = index, index._scores, index._published
        self._since, rows = published_ms, index.by_publication()
        self._from = bisect_left(rows, (published_ms, -inf))

    def __contains__(self, key: int) -> bool:
        return key in self._index and self._published[key] >= self._since

    def __len__(self) -> int:
        return len(self._index) - self._from

    def offered(self, key: int) -> int:
        """As of the index that it is a view of."""
        return self._index.offered(key)

    @property
    def items(self) -> Sequence[int]:
        """In the order of publication."""
        return _Keys(self._index.by_publication(), self._from)

    def popular(self) -> Iterator[int]:
        """Those among the most popular of the whole index; where these are few, all are looked at."""
        among = [key for key in self._index.popular() if self._published[key] >= self._since]
        if len(among) >= min(TOP // 2, len(self)):
            return iter(among)
        best = heapq.nlargest(TOP, ((self._scores[key], -key) for key in self.items if key in self._scores))
        return (-minus for _, minus in best)

    def newest(self) -> Iterator[int]:
        """Newest first, all of them."""
        rows = self._index.by_publication()
        return (-int(rows[n][1]) for n in range(len(rows) - 1, self._from - 1, -1))


class _Keys(Sequence[int]):
    """Keys of rows by publication, from one on."""

    def __init__(self, rows: Sequence[Rank], start: int) -> None:
        self._rows, self._start = rows, start

    def __len__(self) -> int:
        return len(self._rows) - self._start

    def __getitem__(self, n: Any) -> Any:
        if isinstance(n, slice):
            return [-minus for _, minus in self._rows[self._start :][n]]
        return -self._rows[self._start + n][1]


class FilteredIndexes:
    """Items that match the filters asked for last, each with its own orders and its exact size, kept up to date as items come and go.

    At most FILTERS of them, and together at most as many items as the catalog has: the one that was not asked for the longest goes first.
    """

    def __init__(self) -> None:
        self._indexes: dict[tuple[int | None, ItemPredicate], CandidateIndex] = {}  # by domain and filter; the last asked for last

    def get(self, domain: int | None, predicate: ItemPredicate) -> CandidateIndex | None:
        """The items of a domain (None: of all) that match; None where they are not kept."""
        found = self._indexes.pop((domain, predicate), None)
        if found is not None:
            self._indexes[domain, predicate] = found
        return found

    def keep(self, domain: int | None, predicate: ItemPredicate, index: CandidateIndex, most: int) -> None:
        """Keep an index, and so many items of all of them together."""
        self._indexes[domain, predicate] = index
        items = sum(map(len, self._indexes.values()))
        while len(self._indexes) > FILTERS or items > most:
            items -= len(self._indexes.pop(next(iter(self._indexes))))

    def publish(self, known: CatalogItem) -> None:
        """An item may be shown from now on."""
        for (domain, predicate), index in self._indexes.items():
            if domain in (None, known.domain) and predicate.matches(known):
                index.add(known.key)

    def withdraw(self, key: int) -> None:
        """An item may not be shown any more."""
        for index in self.holding(key):
            index.remove(key)

    def holding(self, key: int) -> list[CandidateIndex]:
        """The indexes that hold an item."""
        return [index for index in self._indexes.values() if index.holds(key)]
