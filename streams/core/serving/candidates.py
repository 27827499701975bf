"""Where the items of a list come from: what is available now, by domain, in the orders popular and fresh, or any of it.

`CatalogIndex` is kept up to date item by item and event by event, so that a request scans nothing. An item stands on the
shelf of its domain and on the shelf of all from its publication to its expiry, unless it is hidden or deleted; and in
both on the shelf of its category, which is the first it has, as for the model. Decayed
popularity keeps its order between events (everything decays by the same factor), so an item's score is
log2 p(t) + t / half-life: a constant until its next event.

What is played right after what (`followers.py`) is kept here, too, by the same events.

Items that no catalog knows stand on a shelf of their own, which is taken while there is no catalog at all: once there
is one, what it doesn't hold was deleted, or is not for everybody. A request that names such an item still gets it.
"""
from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import exp2, inf, log2

import numpy as np

from online_model.popularity import POPULAR, Increment
from streams.core.join import keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.co_listening import CoListening, summed

TOP = 500  # best of a shelf that are kept in order; what a user has just had is skipped, so more than a request takes
REMEMBERED = 1 << 20  # deleted items still known as deleted; and items with events that no catalog knows
POPULAR_HALF_LIFE_H = 24.0  # of the popularity that candidates are ordered by: a day, so that nobody's night decides
GIVEN, CO_LISTENED, POPULAR_NOW, FRESH, EXPLORE = "given", "co-listened", "popular", "fresh", "explore"  # sources of candidates
_NONE = (-inf, 0)
_LEAST = 1e-9  # a popularity below it is none: what an undo leaves of rounding

Rank = tuple[float, int]  # score, -key: the larger the better, equal scores by key


class Top:
    """The best `limit` keys by score, kept exactly under changes; rebuilt from all only after many have left."""

    def __init__(self, limit: int = TOP) -> None:
        self._limit = limit
        self._rows: list[Rank] = []  # ascending
        self._score: dict[int, float] = {}
        self._floor: Rank = _NONE  # no key outside ranks above this

    def put(self, key: int, score: float) -> None:
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
        score = self._score.pop(key, None)
        if score is not None:
            del self._rows[bisect_left(self._rows, (score, -key))]

    def best(self, everything: Iterable[Rank]) -> Iterator[int]:
        """Best first. `everything` is gone through only where more than half of the kept ones have left since the last time."""
        if self._floor != _NONE and len(self._rows) < self._limit // 2:
            best = heapq.nlargest(self._limit + 1, everything)
            self._floor = best.pop() if len(best) > self._limit else _NONE
            self._rows = best[::-1]
            self._score = {-minus: score for score, minus in best}
        return (-minus for _, minus in reversed(self._rows))


class CandidateIndex:
    """Items that may be shown: of one domain, or all."""

    def __init__(self, scores: dict[int, float], published: dict[int, int]) -> None:
        self.items: list[int] = []  # in no particular order: to draw from
        self._scores, self._published = scores, published  # of all shelves
        self._at: dict[int, int] = {}
        self._popular, self._newest = Top(), Top()

    def __contains__(self, key: int) -> bool:
        return key in self._at

    def __len__(self) -> int:
        return len(self.items)

    def add(self, key: int) -> None:
        self._at[key] = len(self.items)
        self.items.append(key)
        self._newest.put(key, self._published[key])
        self.scored(key)

    def remove(self, key: int) -> None:
        at, last = self._at.pop(key), self.items.pop()
        if last != key:
            self.items[at] = last
            self._at[last] = at
        self._newest.remove(key)
        self._popular.remove(key)

    def scored(self, key: int) -> None:
        """An item of this shelf has another score, or none."""
        score = self._scores.get(key)
        if score is None:
            self._popular.remove(key)
        else:
            self._popular.put(key, score)

    def popular(self) -> Iterator[int]:
        """Most popular first, the best TOP or so; items without a good event aren't among them."""
        return self._popular.best((self._scores[key], -key) for key in self.items if key in self._scores)

    def fresh(self) -> Iterator[int]:
        """Newest first, the newest TOP or so."""
        return self._newest.best((self._published[key], -key) for key in self.items)


@dataclass(frozen=True, slots=True)
class _Placed:
    published_ms: int
    expires_ms: int | None
    domain: int
    category: int
    hidden: bool


class CatalogIndex:
    """All shelves. Time only moves forward here, by `advance`."""

    def __init__(self) -> None:
        self.now_ms = -1
        self.followers = CoListening()
        self._half_life_ms = POPULAR_HALF_LIFE_H * keys.HOUR_MS
        self._scores: dict[int, float] = {}
        self._published: dict[int, int] = {}  # of what stands on a shelf; of what no catalog knows: in the order it was met
        self._placed: dict[int, _Placed] = {}  # what a catalog knows
        self._deleted: dict[int, None] = {}  # oldest first
        self._names: dict[int, str] = {}  # of items that no catalog knows, oldest first
        self._met = 0
        self._later: list[tuple[int, int]] = []  # (published, key) of what is still to come
        self._expiring: list[tuple[int, int]] = []
        self._all, self._strays, self._nothing = (CandidateIndex(self._scores, self._published) for _ in range(3))
        self._of_domain: dict[int, CandidateIndex] = {}
        self._of_category: dict[int | None, dict[int, CandidateIndex]] = {None: {}}  # by domain, None: of all

    def __len__(self) -> int:
        return len(self._placed)

    def of(self, domain: int | None) -> CandidateIndex:
        """The shelf of a domain; None: of all. Without a catalog nobody knows domains, and there is one shelf for all."""
        if not self._placed:
            return self._strays
        return self._all if domain is None else self._of_domain.get(domain, self._nothing)

    def categories(self, domain: int | None) -> Mapping[int, CandidateIndex]:
        """The shelves of all categories in a domain that have something on them; None: in all. Without a catalog there are none."""
        return self._of_category.get(domain, {})

    def put(self, known: CatalogItem, seen_ms: int) -> None:
        """An item is new or has changed; `seen_ms` (the record's time) stands in for an unknown time of publication."""
        item, before = known.item, self._placed.get(known.key)
        published = item.published_ts
        if published is None:
            published = before.published_ms if before else seen_ms
        self._take_down(known.key)
        self._deleted.pop(known.key, None)
        self._placed[known.key] = _Placed(published, item.expires_ts, known.domain, known.category, item.hidden)
        if item.published_ts is not None and item.published_ts > self.now_ms:
            self._remind(self._later, item.published_ts, known.key)
        else:
            self._show(known.key)

    def delete(self, key: int) -> None:
        """A tombstone: not even a request that names the item gets it."""
        self._take_down(key)
        self._placed.pop(key, None)
        self._scores.pop(key, None)
        self.followers.drop(key)
        self._deleted.pop(key, None)
        self._deleted[key] = None
        if len(self._deleted) > REMEMBERED:
            del self._deleted[next(iter(self._deleted))]

    def meet(self, item_id: str) -> None:
        """An item was named by an event. Without a catalog, that is where the name behind a key comes from."""
        if self._placed:
            return
        key = keys.key("item", item_id)
        if key not in self._names and key not in self._deleted:
            self._names[key] = item_id
            self._met += 1
            self._published[key] = self._met
            self._strays.add(key)
            if len(self._names) > REMEMBERED:
                self._take_down(next(iter(self._names)))

    def add(self, increment: Increment) -> None:
        """One event's part in an item's popularity and in what follows what, of any partition, in any order."""
        key = increment.item
        if not increment.mask & POPULAR or key in self._deleted:
            return
        if increment.after and increment.sign > 0:
            self.followers.add(increment.after, key, increment.ts)
        at, score = increment.ts / self._half_life_ms, self._scores.get(key, -inf)
        if increment.sign > 0:
            self._score(key, summed(score, at))
        elif score > -inf:
            left = 1.0 - exp2(min(at - score, 0.0))
            self._score(key, score + log2(left) if left > _LEAST else -inf)

    def seed(self, key: int, popularity: float, at_ms: int) -> None:
        """What is known of an item's popularity from before: its decayed count at a time, over all partitions."""
        if key not in self._deleted:
            self._score(key, log2(popularity) + at_ms / self._half_life_ms if popularity > _LEAST else -inf)

    def advance(self, now_ms: int) -> None:
        """Time moves on: items are published and expire."""
        self.now_ms = max(self.now_ms, now_ms)
        while self._later and self._later[0][0] <= self.now_ms:
            published, key = heapq.heappop(self._later)
            placed = self._placed.get(key)
            if placed is not None and placed.published_ms == published and key not in self._all:
                self._show(key)
        while self._expiring and self._expiring[0][0] <= self.now_ms:
            expires, key = heapq.heappop(self._expiring)
            placed = self._placed.get(key)
            if placed is not None and placed.expires_ms == expires:
                self._take_down(key)

    def available(self, key: int) -> bool:
        """May this item be shown at all? What no catalog knows may (a request named it), unless it was deleted."""
        return key in self._all if key in self._placed else key not in self._deleted

    def popularity(self, key: int, now_ms: int) -> float:
        """The decayed count that candidates are ordered by."""
        return exp2(self._scores[key] - now_ms / self._half_life_ms) if key in self._scores else 0.0

    def published_ms(self, key: int) -> int:
        """-1 = no catalog knows the item."""
        placed = self._placed.get(key)
        return placed.published_ms if placed else -1

    def name(self, key: int) -> str | None:
        """The id of an item that no catalog knows, if an event named it."""
        return self._names.get(key)

    def _show(self, key: int) -> None:
        placed = self._placed[key]
        if placed.hidden or (placed.expires_ms is not None and placed.expires_ms <= self.now_ms):
            return
        if placed.expires_ms is not None:
            self._remind(self._expiring, placed.expires_ms, key)
        self._published[key] = placed.published_ms
        catalog_index = [self._all, self._of_domain.setdefault(placed.domain, CandidateIndex(self._scores, self._published))]
        if placed.category:
            for domain in (None, placed.domain):
                of = self._of_category.setdefault(domain, {})
                catalog_index.append(of.setdefault(placed.category, CandidateIndex(self._scores, self._published)))
        for candidate_index in catalog_index:
            candidate_index.add(key)

    def _take_down(self, key: int) -> None:
        if self._names.pop(key, None) is not None:
            self._strays.remove(key)
            del self._published[key]
        if key in self._all:
            placed = self._placed[key]
            for candidate_index in self._shelves(key):
                candidate_index.remove(key)
            del self._published[key]
            if not self._of_domain[placed.domain]:
                del self._of_domain[placed.domain]
            for domain in (None, placed.domain):
                if placed.category and not self._of_category[domain][placed.category]:
                    del self._of_category[domain][placed.category]

    def _remind(self, times: list[tuple[int, int]], ms: int, key: int) -> None:
        """Come back to an item at its time. What changed since is passed over then, or here when it is most of them."""
        heapq.heappush(times, (ms, key))
        if len(times) > 2 * len(self._placed) + 1024:
            field = "published_ms" if times is self._later else "expires_ms"
            times[:] = sorted({(t, k) for t, k in times if k in self._placed and getattr(self._placed[k], field) == t})

    def _score(self, key: int, score: float) -> None:
        self._scores.pop(key, None)
        if score > -inf:
            self._scores[key] = score
            if len(self._scores) > REMEMBERED + len(self._placed):
                self._forget()
        for candidate_index in self._shelves(key):
            candidate_index.scored(key)

    def _shelves(self, key: int) -> tuple[CandidateIndex, ...]:
        if key in self._names:
            return (self._strays,)
        if key not in self._all:
            return ()
        placed = self._placed[key]
        both = self._all, self._of_domain[placed.domain]
        if not placed.category:
            return both
        return *both, *(self._of_category[domain][placed.category] for domain in (None, placed.domain))

    def _forget(self) -> None:
        """Drop the scores of half of the items that no catalog knows: those without an event for the longest."""
        unknown = [key for key in self._scores if key not in self._placed]
        for key in unknown[: len(unknown) // 2]:
            del self._scores[key]
            for candidate_index in self._shelves(key):
                candidate_index.scored(key)


class EligibilityFilter:
    """The one filter between candidates and a list: available now, and not blocked for this request."""

    def __init__(self, catalog_index: CatalogIndex, blocked: set[int]) -> None:
        self._shelves, self._blocked = catalog_index, blocked

    def open(self, key: int) -> bool:
        return key not in self._blocked and self._shelves.available(key)

    def count(self, candidate_index: CandidateIndex) -> int:
        """How many items of a shelf come through."""
        return len(candidate_index) - sum(key in candidate_index for key in self._blocked)


def retrieve(
    candidate_index: CandidateIndex, gate: EligibilityFilter, popular: int, fresh: int, explore: int, least: int, rng: np.random.Generator,
    following: Iterable[int] = (), followed: int = 0,
) -> dict[int, str]:  # fmt: skip
    """Candidates with their source: up to `followed` of those that are `following`, in place of as many of the most popular; the
    newest beside them (and in place of popular ones that are lacking), then random ones; at least `least`, where the shelf has so
    many that come through.
    """
    out: dict[int, str] = {}
    for key in following:
        if len(out) >= min(followed, popular):
            break
        if key in candidate_index and gate.open(key):
            out[key] = CO_LISTENED
    for source, keys_, wanted in ((POPULAR_NOW, candidate_index.popular(), popular), (FRESH, candidate_index.fresh(), popular + fresh)):
        for key in keys_:
            if len(out) >= wanted:
                break
            if key not in out and gate.open(key):
                out[key] = source
    for key in draw(candidate_index, gate, max(explore, least - len(out)), rng, out):
        out[key] = EXPLORE
    return out


def draw(candidate_index: CandidateIndex, gate: EligibilityFilter, n: int, rng: np.random.Generator, but: Iterable[int] = ()) -> list[int]:
    """Up to `n` different items of what comes through, none of `but` (which does), each with the same chance, in random order."""
    out: dict[int, None] = dict.fromkeys(but)
    others = len(out)
    eligible = gate.count(candidate_index) - others
    n = min(n, eligible)
    if n * 4 > eligible or eligible * 4 < len(candidate_index):  # then the shelf is small: what blocks is bounded
        return shuffled([key for key in candidate_index.items if key not in out and gate.open(key)], n, rng)
    while len(out) < n + others:
        key = candidate_index.items[int(rng.integers(len(candidate_index)))]
        if key not in out and gate.open(key):
            out[key] = None
    return list(out)[others:]


def shuffled(pool: Iterable[int], n: int, rng: np.random.Generator) -> list[int]:
    """`n` different ones, each with the same chance, in random order; the order of `pool` doesn't matter."""
    ordered = sorted(pool)
    return [ordered[i] for i in rng.permutation(len(ordered))[:n].tolist()]
