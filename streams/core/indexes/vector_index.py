"""What may be shown, by vectors: which items have the largest product with a user's vector, and which lie in the direction of others.

An item's vector is the sum of the rows of its content keys, and of its embedding times a matrix (`online_model/two_tower.py`). Rows are
kept once each, by key: an update of a category's row is one write, whatever its items. A product with all items is one with all rows,
and a sum of eleven numbers an item: exact, 2.8 ms at 50,000 items and 12 ms at 200,000 (one slow core). New rows, and changes of the
model, are read when somebody asks: .8 ms for 1,200 of them.

Shapes: N items, C content keys of each, R rows, W numbers of a vector, the last of them the item's own constant.
"""
from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import numpy as np

from online_model.batch import Batch
from online_model.features import EMBEDDING
from online_model.taken_items import CONTENT

Array = np.ndarray

FIRST = 512  # best items that are put in order at once: more than a pool takes; the others follow where somebody goes on
CHUNK = 1 << 14  # items whose vectors are made at a time
_START = 1024


class Vectors(Protocol):
    """The model's part: `online_model.two_tower.TwoTower`."""

    changes: int

    def query(self, batch: Batch) -> Array:
        """float32 [B, W] of moments of users."""

    def rows(self, keys: Array) -> tuple[Array, Array]:
        """float32 [R, W] of content keys [R], and which of them have a row."""

    def embedding_map(self) -> Array:
        """float32 [EMBEDDING, W]: what an item's embedding adds to its vector."""

    def changed_since(self, changes: int) -> Array | None:
        """Keys of rows that have changed since; None: any may have."""


class VectorIndex:
    """Items that may be shown, with the rows of their content."""

    def __init__(self) -> None:
        self._place: dict[int, int] = {}  # of an item
        self._items = np.zeros(_START, np.uint64)
        self._members = np.zeros((_START, CONTENT), np.int32)  # rows of its content; 0 = none
        self._embeddings: Array | None = None  # float32 [N, EMBEDDING]; None: no item has one
        self._map = np.zeros((EMBEDDING, 1), np.float32)
        self._row: dict[int, int] = {}  # of a content key; row 0 is nobody's
        self._keys = np.zeros(_START, np.uint64)  # of a row
        self._users = np.zeros(_START, np.int32)  # items that have a row
        self._free: list[int] = []
        self._unread: set[int] = set()  # rows that the model has not been asked for
        self._followed: Vectors | None = None
        self._changes = 0
        self._values = np.zeros((_START, 1), np.float32)
        self._learned = np.zeros(_START, bool)  # rows that the model has
        self._offered = np.zeros(0, bool)  # [N]: items of whose content it has any
        self._stale = True  # that is to be made again

    def __len__(self) -> int:
        return len(self._place)

    def put(self, item: int, content: Sequence[int], embedding: bytes = b"") -> None:
        """An item that is not in it may be shown; its content keys, 0 = none, at most C, and its embedding, if it has one."""
        at = self._place[item] = len(self._place)
        if at >= len(self._items):
            self._items, self._members = _doubled(self._items), _doubled(self._members)
            self._embeddings = _doubled(self._embeddings) if self._embeddings is not None else None
        rows = [self._use(key) for key in dict.fromkeys(content) if key]
        self._items[at] = item
        self._members[at] = rows + [0] * (CONTENT - len(rows))
        if embedding and self._embeddings is None:
            self._embeddings = np.zeros((len(self._items), EMBEDDING), np.float32)
        if self._embeddings is not None:
            self._embeddings[at] = np.frombuffer(embedding, "<f4") if embedding else 0
        self._stale = True

    def drop(self, item: int) -> None:
        """An item may not be shown any more."""
        at, last = self._place.pop(item), len(self._place)
        for row in self._members[at].tolist():
            if row:
                self._release(row)
        if at != last:
            moved = int(self._items[last])
            self._items[at], self._members[at], self._place[moved] = moved, self._members[last], at
            if self._embeddings is not None:
                self._embeddings[at] = self._embeddings[last]
        self._stale = True

    def follow(self, vectors: Vectors | None) -> None:
        """Take over what the model has learned since the last call. None: there is no model, and so no order."""
        if vectors is None:
            self._followed = None
            return
        changed = vectors.changed_since(self._changes) if vectors is self._followed else None
        if changed is None:
            rows = list(self._row.values())
        else:
            rows = [row for key in changed.tolist() if (row := self._row.get(key))]
        if rows := sorted({*rows, *self._unread}):
            at = np.array(rows)
            values, learned = vectors.rows(self._keys[at])
            if self._values.shape != (len(self._keys), values.shape[1]):
                grown = np.zeros((len(self._keys), values.shape[1]), np.float32)
                if self._values.shape[1] == values.shape[1]:
                    grown[: len(self._values)] = self._values
                self._values = grown
            if (learned != self._learned[at]).any():
                self._stale = True
            self._values[at], self._learned[at] = values, learned
        self._unread.clear()
        self._followed, self._changes, self._map = vectors, vectors.changes, vectors.embedding_map()

    def best(self, query: Array) -> Iterator[int]:
        """Items by their product with a user's vector [W], the largest first, of equal ones the smallest key. As of the last `follow`."""
        if not self._ready():
            return iter(())
        score = (self._values @ query)[self._members[: len(self._place)]].sum(1)
        if self._embeddings is not None:
            score += self._embeddings[: len(score)] @ (self._map @ query)
        return self._ordered(score)

    def like(self, items: Collection[int]) -> Iterator[tuple[int, float]]:
        """Items by the cosine between their vector and the mean direction of others', which the model need not know; the nearest first."""
        wanted = [self._place[item] for item in items if item in self._place]
        if not (wanted and self._ready()):
            return
        near = np.concatenate([self._directions(at) for at in np.array_split(np.arange(len(self._place)), 1 + len(self._place) // CHUNK)])
        cosine = near @ near[wanted].mean(0)
        norm = float(np.linalg.norm(near[wanted].mean(0)))
        if norm > 0:
            for item in self._ordered(cosine):
                yield item, float(cosine[self._place[item]]) / norm

    def _ready(self) -> bool:
        """Whether there is anything to compare; brings what is known of each item up to date."""
        if self._stale:
            self._offered = np.any(self._learned[self._members[: len(self._place)]], axis=1)
            if self._embeddings is not None:
                self._offered |= self._embeddings[: len(self._place)].any(1)
            self._stale = False
        return self._followed is not None and bool(self._offered.any())

    def _directions(self, at: Array) -> Array:
        """float32 [N, D] of length 1, or 0 where nothing is known."""
        vector = self._values[self._members[at]].sum(1)
        if self._embeddings is not None:
            vector += self._embeddings[at] @ self._map
        vector = vector[:, :-1]
        length = np.linalg.norm(vector, axis=1, keepdims=True)
        return np.divide(vector, length, out=np.zeros_like(vector), where=length > 0)

    def _ordered(self, score: Array) -> Iterator[int]:
        offered = np.flatnonzero(self._offered)
        first = offered
        if len(offered) > FIRST:
            least = np.partition(score[offered], -FIRST)[-FIRST]
            first = offered[score[offered] >= least]
        yield from self._sorted(first, score)
        if len(first) < len(offered):
            yield from self._sorted(np.setdiff1d(offered, first), score)

    def _sorted(self, at: Array, score: Array) -> list[int]:
        order = np.lexsort([self._items[at], -score[at]])
        return list(map(int, self._items[at[order]]))

    def _use(self, key: int) -> int:
        row = self._row.get(key)
        if row is None:
            row = self._row[key] = self._free.pop() if self._free else len(self._row) + 1
            if row >= len(self._keys):
                self._keys, self._users, self._learned = _doubled(self._keys), _doubled(self._users), _doubled(self._learned)
                self._values = _doubled(self._values)
            self._keys[row] = key
            self._unread.add(row)
        self._users[row] += 1
        return row

    def _release(self, row: int) -> None:
        self._users[row] -= 1
        if not self._users[row]:
            del self._row[int(self._keys[row])]
            self._values[row], self._learned[row] = 0, False
            self._free.append(row)
            self._unread.discard(row)


def _doubled(array: Array) -> Array:
    return np.concatenate([array, np.zeros_like(array)])
