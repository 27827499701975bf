"""What was taken last, and how often each item is: the negatives of a sampled softmax, and what their sampling does to it.

Shapes: P items taken in a batch, C content keys of an item, N different items.
"""
from __future__ import annotations

import numpy as np

from online_model.features import BAG_LIMIT, EMBEDDING
from online_model.saved import Saved

Array = np.ndarray

CONTENT = 3 + BAG_LIMIT  # keys of an item: its own, artist, first category, features; 0 = none
RECENT = 512  # items taken last that are remembered
BUCKETS = 1 << 16  # of items by the low bits of their keys: those of one bucket are taken for one item
MEMORY = 0.05  # weight of a new interval in the mean (Yi et al., algorithm 2)


class TakenItems(Saved):
    """A ring of the last items that were taken, and the mean interval at which each comes, counted in items taken.

    Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019, algorithm 2. Departs: the
    first intervals, of which an item's very first counts from the beginning, are averaged: else that one would weigh most for long.
    """

    saved = ("recent", "embeddings", "last", "interval", "times", "n")

    def __init__(self) -> None:
        self.recent = np.zeros((RECENT, CONTENT), np.uint64)
        self.embeddings = np.zeros((RECENT, EMBEDDING), np.float32)  # of the same items
        self.last = np.zeros(BUCKETS, np.int64)  # when an item of the bucket was taken last
        self.interval = np.zeros(BUCKETS, np.float64)  # 0: none was taken yet
        self.times = np.zeros(BUCKETS, np.int64)  # that one of the bucket was taken
        self.n = 0  # items taken so far: the next place in the ring, modulo its length

    def take(self, content: Array, embeddings: Array) -> None:
        """Items by their content keys [P, C] and embeddings [P, EMBEDDING], in order."""
        kept = content[-RECENT:]
        place = (self.n + len(content) - len(kept) + np.arange(len(kept))) % RECENT
        self.recent[place], self.embeddings[place] = kept, embeddings[-RECENT:]
        self.n += len(content)
        place, times = np.unique(_bucket(content[:, 0]), return_counts=True)
        between = (self.n - self.last[place]) / times
        self.times[place] += times
        new_share = np.maximum(1 - (1 - MEMORY) ** times, times / self.times[place])
        self.interval[place] += new_share * (between - self.interval[place])
        self.last[place] = self.n

    def different(self, content: Array, embeddings: Array) -> tuple[Array, Array]:
        """Content keys [N, C] and embeddings [N, EMBEDDING] of the items in the ring and of these, each once, in the order of their keys.

        Of one item, as it came first.
        """
        n = min(self.n, RECENT)
        there, theirs = np.concatenate([self.recent[:n], content]), np.concatenate([self.embeddings[:n], embeddings])
        items, first = np.unique(there[:, 0], return_index=True)
        first = first[items != 0]
        return there[first], theirs[first]

    def inclusion(self, items: Array) -> Array:
        """float64 [N]: how likely each item is in a full ring, by how often it comes: 1 - exp(-RECENT / interval).

        While intervals are averaged, how often an item came until now says that: the mean of the few that ended leaves out the open
        one, and so makes rare items more frequent than they are. A new item counts as one that comes next.
        """
        place = _bucket(items)
        times = self.times[place]
        interval = np.where(times * MEMORY < 1, (self.n + (times == 0)) / np.maximum(times, 1), self.interval[place])
        return -np.expm1(-RECENT / interval)

    def forget(self, keys: Array) -> None:
        """Erased ids are nobody's negatives any more."""
        gone = np.isin(self.recent[:, 0], keys)
        self.recent[gone], self.embeddings[gone] = 0, 0


def _bucket(items: Array) -> Array:
    return (items & np.uint64(BUCKETS - 1)).astype(np.int64)
