"""The index against a dictionary of whole vectors, under items that come and go and rows that change."""
from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.batch import Batch
from online_model.features import EMBEDDING
from online_model.item_embedding import packed
from streams.core.indexes import vector_index
from streams.core.indexes.vector_index import VectorIndex

WIDTH = 4
MAP = np.zeros((EMBEDDING, WIDTH), np.float32)
MAP[:3] = [[1, 0, 2, 0], [0, 1, 0, -1], [3, 0, 0, 1]]


class Rows:
    """Rows by key as a model has them, all changes remembered."""

    def __init__(self) -> None:
        self.known: dict[int, np.ndarray] = {}
        self.log: list[int] = []

    @property
    def changes(self) -> int:
        return len(self.log)

    def set(self, key: int, row: np.ndarray | None) -> None:
        self.log.append(key)
        if row is None:
            self.known.pop(key, None)
        else:
            self.known[key] = row.astype(np.float32)

    def query(self, batch: Batch) -> np.ndarray:
        raise NotImplementedError

    def rows(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [self.known.get(key, np.zeros(WIDTH, np.float32)) for key in keys.tolist()]
        return np.array(found), np.array([key in self.known for key in keys.tolist()])

    def embedding_map(self) -> np.ndarray:
        return MAP

    def changed_since(self, changes: int) -> np.ndarray | None:
        return np.unique(np.array(self.log[changes:], np.uint64)) if self.changes - changes < 5 else None


def embedding(item: int) -> bytes:
    """Every fourth item has one, of a single 1."""
    return packed(np.eye(3)[item % 3].tolist()) if item % 4 == 0 else b""


def whole(rows: Rows, items: dict[int, tuple[int, ...]], embedded: bool = True) -> dict[int, np.ndarray]:
    """Vectors of the items of which anything is known."""
    return {
        item: np.sum([rows.known.get(key, np.zeros(WIDTH)) for key in set(keys) if key], axis=0)
        + (MAP[item % 3] if embedded and embedding(item) else 0)
        for item, keys in items.items() if any(key in rows.known for key in keys) or (embedded and embedding(item))
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["put", "drop", "row", "lose", "ask"]), st.integers(1, 12), st.integers(0, 6)), max_size=60),
    st.data(),
)
def test_orders_are_those_of_whole_vectors(steps: list[tuple[str, int, int]], data: st.DataObject) -> None:
    index, rows, items = VectorIndex(), Rows(), dict[int, tuple[int, ...]]()
    rng = np.random.default_rng(len(steps))
    for what, item, content in [*steps, ("ask", 1, 1)]:
        if what == "put" and item not in items:
            items[item] = (item, 100 + content, 0, 200 + content % 3)
            index.put(item, items[item], embedding(item))
        elif what == "drop" and item in items:
            index.drop(item)
            del items[item]
        elif what == "row":
            rows.set(data.draw(st.sampled_from([item, 100 + content, 200 + content % 3])), rng.integers(-3, 4, WIDTH))
        elif what == "lose":
            rows.set(data.draw(st.sampled_from([item, 100 + content])), None)
        elif what == "ask":
            index.follow(rows)
            query, vectors = rng.integers(-2, 3, WIDTH).astype(np.float32), whole(rows, items)
            assert list(index.best(query)) == sorted(vectors, key=lambda key: (-float(vectors[key] @ query), key))
            assert len(index) == len(items)


def test_the_nearest_are_those_of_the_largest_cosine_without_the_constant() -> None:
    index, rows, rng = VectorIndex(), Rows(), np.random.default_rng(4)
    for item in range(1, 41):
        index.put(item, (item, 100 + item % 3))
        if item % 5:
            rows.set(item, rng.normal(size=WIDTH))
    for artist in (100, 101):
        rows.set(artist, rng.normal(size=WIDTH))
    index.follow(rows)
    vectors = {
        item: v[:-1] / np.linalg.norm(v[:-1])
        for item, v in whole(rows, {i: (i, 100 + i % 3) for i in range(1, 41)}, embedded=False).items()
    }
    middle = (vectors[7] + vectors[8] + vectors[12]) / 3
    wanted = {item: float(v @ middle / np.linalg.norm(middle)) for item, v in vectors.items()}
    found = dict(index.like([7, 8, 12, 999]))
    assert list(found) == sorted(wanted, key=lambda item: -wanted[item])
    assert list(found.values()) == pytest.approx(sorted(wanted.values(), reverse=True), abs=1e-5)
    assert list(index.like([999])) == [] and list(VectorIndex().best(np.zeros(WIDTH, np.float32))) == []


def test_whoever_goes_on_behind_the_first_gets_the_others_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "FIRST", 4)
    index, rows = VectorIndex(), Rows()
    for item in range(1, 31):
        index.put(item, (item,))
        rows.set(item, np.array([item % 7, 0, 0, 0]))
    index.follow(rows)
    wanted = sorted(range(1, 31), key=lambda item: (-(item % 7), item))
    assert list(index.best(np.array([1, 0, 0, 0], np.float32))) == wanted
    assert list(islice(index.best(np.array([1, 0, 0, 0], np.float32)), 3)) == wanted[:3]
