"""What is available now, by domain and category: the life of an item from its publication to its expiry.

`CatalogIndex` is updated item by item and event by event, so that a request scans nothing. From its publication to its
expiry an item is in the index of its domain and in that of the whole catalog, unless it is hidden or deleted; and in the
index of each of its categories, of both. Decayed popularity keeps its order between
events (everything decays by the same factor), so an item's score is log2 p(t) + t / half-life: a constant until its next
event. Co-listening is updated by the same events.

A filter is an index too, made when it is first asked for and kept while it is asked for (`FilteredIndexes`): so its most popular and
newest items, its size and its draws are exact, however narrow it is. Making one looks at the items of its rarest condition among
domains, categories and artists; at all items where it has none of these (100,000 of them: 0.2 s, 0.5 s where nearly
all match, measured on a slow, busy core). Asking again takes 0.1 ms; with a time of publication 20 ms where what is popular is older.

Items that no catalog knows have an index of their own, which serves as long as there is no catalog at all. Once anything was
written to one, what it doesn't hold was deleted, or is not for everybody: a request that names such an item gets it only where
it says so. Deletions are remembered beyond that, within bounds; after a restart their tombstones may be compacted away.
"""
from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from math import exp2, inf, log2

import numpy as np

from online_model.decay import summed
from online_model.features import BAG_LIMIT
from online_model.popularity import POPULAR, Increment
from streams.core.indexes.vector_index import VectorIndex
from streams.core.join import keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.co_listening import CoListening
from streams.core.serving.index import CandidateIndex, FilteredIndexes, PublishedSince
from streams.core.shaping.item_filter import ItemFilter, ItemPredicate

REMEMBERED = 1 << 20  # deleted items that are still known as deleted; and items with events that no catalog knows
POPULAR_HALF_LIFE_H = 24.0  # of the popularity that orders candidates: a day, so that nobody's night decides
SMALL = 1 << 12  # items that the indexes of filters may hold beside a small catalog
_LEAST = 1e-9  # a popularity below it is none: what an undo leaves of rounding


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the catalog has of an item."""

    published_ms: int
    expires_ms: int | None
    domain: int
    categories: tuple[int, ...]
    hidden: bool
    known: CatalogItem


class CatalogIndex:
    """The indexes of all domains and categories. Time only moves forward here, by `advance`."""

    def __init__(self) -> None:
        self.now_ms = -1
        self.shared_items = 0  # available now in several categories, or as variants that may be in others
        self.catalogued = False  # a catalog was written at some time, though it may be empty now
        self.co_listening = CoListening()
        self.vectors = VectorIndex()
        self._half_life_ms = POPULAR_HALF_LIFE_H * keys.HOUR_MS
        self._scores: dict[int, float] = {}
        self.originals: dict[int, int] = {}  # of variants, available or not: the item that each is one of
        self._variants: dict[int, dict[int, None]] = {}  # the other way round
        self._published: dict[int, int] = {}  # of items that are in an index; of uncatalogued ones the order in which they came
        self._entries: dict[int, _Entry] = {}
        self._deleted: dict[int, None] = {}  # oldest first
        self._names: dict[int, str] = {}  # of uncatalogued items, oldest first
        self._named = 0
        self._upcoming: list[tuple[int, int]] = []  # heap of (published, key)
        self._expiring: list[tuple[int, int]] = []  # heap of (expires, key)
        self._uncatalogued, self._nothing = self._index(), self._index()
        self._domains: dict[int | None, CandidateIndex] = {None: self._index()}  # None: the whole catalog
        self._categories: dict[int | None, dict[int | None, CandidateIndex]] = {}  # by domain, then category
        self._artists: dict[int, dict[int, None]] = {}  # items of each that are in an index, in no particular order
        self._filtered = FilteredIndexes()

    def __len__(self) -> int:
        return len(self._entries)

    def of_domain(self, domain: int | None) -> CandidateIndex:
        """The index of a domain; None: of all. Without a catalog nothing is known of domains, and there is one index for all."""
        return self._domains.get(domain, self._nothing) if self.catalogued else self._uncatalogued

    def categories(self, domain: int | None) -> Mapping[int | None, CandidateIndex]:
        """The indexes of all categories of a domain that are not empty; None: of all domains. Without a catalog there are none."""
        return self._categories.get(domain, {})

    def of_artist(self, artist: int) -> Collection[int]:
        """The items of an artist that may be shown."""
        return self._artists.get(artist, {})

    def of_artists(self, artist_ids: Iterable[str]) -> set[int]:
        """The same of several, by their ids."""
        return {key for artist_id in artist_ids for key in self.of_artist(keys.key("artist", artist_id))}

    def matching(self, domain: int | None, wanted: ItemFilter) -> CandidateIndex:
        """The index of the items of a domain (None: of all) that a filter lets through. Without a catalog none does."""
        if not self.catalogued:
            return self._nothing
        predicate = wanted.predicate()
        index = self.of_domain(domain) if predicate.empty else self._filtered.get(domain, predicate)
        if index is None:
            index = CandidateIndex(self._scores, self._published, self.originals, self._scan(domain, predicate))
            self._filtered.keep(domain, predicate, index, max(len(self._published), SMALL))
        if wanted.published_since is None:
            return index
        return PublishedSince(index, wanted.published_since)

    def matches(self, key: int, wanted: ItemFilter) -> bool:
        """Whether a filter lets an item through, available or not. Of what the catalog does not hold nothing is known."""
        entry = self._entries.get(key)
        if entry is None or entry.published_ms < (wanted.published_since or 0):
            return False
        return wanted.predicate().matches(entry.known)

    def put(self, known: CatalogItem, seen_ms: int) -> None:
        """An item is new or has changed; `seen_ms` (the record's time) stands in for an unknown time of publication."""
        self.catalogued = True
        item, before = known.item, self._entries.get(known.key)
        published = item.published_ts
        if published is None:
            published = before.published_ms if before else seen_ms
        self._withdraw(known.key)
        self._set_original(known.key, known.variant_of)
        self._deleted.pop(known.key, None)
        self._entries[known.key] = _Entry(published, item.expires_ts, known.domain, known.categories, item.hidden, known)
        if item.published_ts is not None and item.published_ts > self.now_ms:
            self._schedule(self._upcoming, item.published_ts, known.key)
        else:
            self._publish(known.key)

    def delete(self, key: int) -> None:
        """A tombstone: not even a request that names the item gets it."""
        self.catalogued = True
        self._withdraw(key)
        self._set_original(key, 0)
        self._entries.pop(key, None)
        self._scores.pop(key, None)
        self.co_listening.drop(key)
        self._deleted.pop(key, None)
        self._deleted[key] = None
        if len(self._deleted) > REMEMBERED:
            del self._deleted[next(iter(self._deleted))]

    def add_uncatalogued(self, item_id: str) -> None:
        """An event named an item. Without a catalog, that is the only place where the id behind a key comes from."""
        if self.catalogued:
            return
        key = keys.key("item", item_id)
        if key not in self._names and key not in self._deleted:
            self._names[key] = item_id
            self._named += 1
            self._published[key] = self._named
            self._uncatalogued.add(key)
            self.vectors.put(key, (key,))
            if len(self._names) > REMEMBERED:
                self._withdraw(next(iter(self._names)))

    def add(self, increment: Increment) -> None:
        """One event's part in an item's popularity and in co-listening, of any partition, in any order."""
        key = increment.item
        if not increment.mask & POPULAR or key in self._deleted:
            return
        if increment.sign > 0:
            self.co_listening.add(increment.before, key, increment.ts, increment.weight)
        at, score = increment.ts / self._half_life_ms + log2(increment.weight), self._scores.get(key, -inf)
        if increment.sign > 0:
            self._set_score(key, summed(score, at))
        elif score > -inf:
            left = 1.0 - exp2(min(at - score, 0.0))
            self._set_score(key, score + log2(left) if left > _LEAST else -inf)

    def seed(self, key: int, popularity: float, at_ms: int) -> None:
        """Start from an item's popularity as it was stored: its decayed count at a time, over all partitions."""
        if key not in self._deleted:
            self._set_score(key, log2(popularity) + at_ms / self._half_life_ms if popularity > _LEAST else -inf)

    def advance(self, now_ms: int) -> None:
        """Time moves on: items are published and expire."""
        self.now_ms = max(self.now_ms, now_ms)
        while self._upcoming and self._upcoming[0][0] <= self.now_ms:
            published, key = heapq.heappop(self._upcoming)
            entry = self._entries.get(key)
            if entry is not None and entry.published_ms == published and key not in self._published:
                self._publish(key)
        while self._expiring and self._expiring[0][0] <= self.now_ms:
            expires, key = heapq.heappop(self._expiring)
            entry = self._entries.get(key)
            if entry is not None and entry.expires_ms == expires:
                self._withdraw(key)

    def available(self, key: int, unknown: bool = False) -> bool:
        """May this item be shown at all? `unknown`: also one that the catalog does not hold, unless it is known as deleted."""
        if key in self._entries:
            return key in self._published
        return (unknown or not self.catalogued) and key not in self._deleted

    def known(self, key: int) -> bool:
        """Whether the catalog holds this item, shown or not; without a catalog every item is taken as one."""
        return key in self._entries or not self.catalogued

    def offers(self, domain: int) -> bool:
        """Whether an item that may be shown now is known to be of this domain."""
        return self.catalogued and len(self.of_domain(domain)) > 0

    def popularity(self, key: int, now_ms: int) -> float:
        """The decayed count that orders candidates."""
        return exp2(self._scores[key] - now_ms / self._half_life_ms) if key in self._scores else 0.0

    def published_ms(self, key: int) -> int:
        """-1 = no catalog knows the item."""
        entry = self._entries.get(key)
        return entry.published_ms if entry else -1

    def name(self, key: int) -> str | None:
        """The id of an item that no catalog knows, if an event named it."""
        return self._names.get(key)

    def _index(self) -> CandidateIndex:
        return CandidateIndex(self._scores, self._published, self.originals)

    def _tables(self, entry: _Entry) -> Iterator[tuple[dict[int | None, CandidateIndex], int | None]]:
        """The tables of indexes that an item belongs to, and its key in each."""
        for domain in (None, entry.domain):
            yield self._domains, domain
            for category in entry.categories:
                yield self._categories.setdefault(domain, {}), category

    def versions(self, key: int) -> Collection[int]:
        """An item, its original and that one's other variants, available or not; empty where it has none."""
        original = self.originals.get(key, key)
        return (original, *self._variants[original]) if original in self._variants else ()

    def _set_original(self, key: int, original: int) -> None:
        """An item that is in no index is a variant of another one; 0: of none."""
        before = self.originals.pop(key, None)
        if before is not None:
            del self._variants[before][key]
            if not self._variants[before]:
                del self._variants[before]
        if original:
            self.originals[key] = original
            self._variants.setdefault(original, {})[key] = None

    def _indexes_of(self, key: int) -> list[CandidateIndex]:
        """The indexes that hold an item now."""
        if key in self._names:
            return [self._uncatalogued]
        if key not in self._published:
            return []
        return [table[at] for table, at in self._tables(self._entries[key])] + self._filtered.holding(key)

    def _scan(self, domain: int | None, predicate: ItemPredicate) -> list[int]:
        """Items of a domain that match. Those of the condition that fewest meet are looked at."""
        by_category = self._categories.get(domain, {})

        def of(table: Mapping[int | None, CandidateIndex], those: frozenset[int]) -> list[CandidateIndex]:
            return [table[at] for at in those if at in table]

        several = [of(by_category, frozenset((category,))) for category in predicate.all_of]  # conditions, each met in one of its indexes
        several += [of(by_category, predicate.any_of)] if predicate.any_of else []
        several += [of(self._domains, predicate.domains)] if predicate.domains else []
        groups = [[list(index.all_items()) for index in indexes] for indexes in [*several, [self.of_domain(domain)]]]
        if predicate.artists:
            groups.append([list(self.of_artist(artist)) for artist in predicate.artists])
        rarest = min(groups, key=lambda group: sum(map(len, group)))
        entries = self._entries
        return [
            key for key in dict.fromkeys(chain.from_iterable(rarest))
            if domain in (None, entries[key].domain) and predicate.matches(entries[key].known)
        ]  # fmt: skip

    def _publish(self, key: int) -> None:
        entry = self._entries[key]
        if entry.hidden or (entry.expires_ms is not None and entry.expires_ms <= self.now_ms):
            return
        if entry.expires_ms is not None:
            self._schedule(self._expiring, entry.expires_ms, key)
        self._published[key] = entry.published_ms
        self.vectors.put(key, content(entry.known), entry.known.embedding)
        self.shared_items += len(entry.categories) > 1 or entry.known.variant_of > 0
        for table, at in self._tables(entry):
            if at not in table:
                table[at] = self._index()
            table[at].add(key)
        if entry.known.artist:
            self._artists.setdefault(entry.known.artist, {})[key] = None
        self._filtered.publish(entry.known)

    def _withdraw(self, key: int) -> None:
        """Out of every index that holds the item, if any does."""
        if key not in self._published:
            return
        if self._names.pop(key, None) is not None:
            self._uncatalogued.remove(key)
        else:
            entry = self._entries[key]
            self.shared_items -= len(entry.categories) > 1 or entry.known.variant_of > 0
            for table, at in self._tables(entry):
                table[at].remove(key)
                if at is not None and not table[at]:
                    del table[at]
            of_artist = self._artists.get(entry.known.artist, {})
            of_artist.pop(key, None)
            if not of_artist:
                self._artists.pop(entry.known.artist, None)
            self._filtered.withdraw(key)
        del self._published[key]
        self.vectors.drop(key)

    def _schedule(self, heap: list[tuple[int, int]], ms: int, key: int) -> None:
        """Come back to an item at its time. What is outdated is passed over then, or dropped here when it is most of the heap."""
        heapq.heappush(heap, (ms, key))
        if len(heap) > 2 * len(self._entries) + 1024:
            field = "published_ms" if heap is self._upcoming else "expires_ms"
            heap[:] = sorted({(t, k) for t, k in heap if k in self._entries and getattr(self._entries[k], field) == t})

    def _set_score(self, key: int, score: float) -> None:
        self._scores.pop(key, None)
        if score > -inf:
            self._scores[key] = score
            if len(self._scores) > REMEMBERED + len(self._entries):
                self._forget_scores()
        for index in self._indexes_of(key):
            index.update_score(key)

    def _forget_scores(self) -> None:
        """Drop the scores of half of the uncatalogued items: those without an event for the longest."""
        unknown = [key for key in self._scores if key not in self._entries]
        for key in unknown[: len(unknown) // 2]:
            self._set_score(key, -inf)


def content(known: CatalogItem) -> tuple[int, ...]:
    """Keys that make an item's vector: as of its examples (`two_tower.contents`)."""
    return (known.key, known.artist, known.category, *np.frombuffer(known.features, "<u8")[:BAG_LIMIT].tolist())
