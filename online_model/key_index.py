"""Which row belongs to a 64-bit key: open addressing in numpy, looked up many keys at a time, never colliding.

A probe reads a window of neighbouring cells for all keys at once. Where a key lies depends on the order of births, but no
answer does, so a checkpoint stores keys and rows only and the index is built again from them.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray

_WINDOW = np.arange(8, dtype=np.int64)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # Fibonacci hashing: the top bits of key * spread
_SMALLEST_BITS = 10


class KeyIndex:
    """Key (uint64, not 0) -> row (>= 0). A removed key keeps its cell with row -1 until the next rebuild."""

    def __init__(self) -> None:
        self._clear(_SMALLEST_BITS)

    def _clear(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._mask = (1 << bits) - 1
        self._keys = np.zeros(1 << bits, np.uint64)
        self._rows = np.full(1 << bits, -1, np.int64)
        self._taken = 0  # cells with a key, removed ones included

    def find(self, keys: Array) -> Array:
        """Rows of the keys [n], -1 where absent (key 0 is always absent)."""
        home = (keys * _SPREAD >> self._shift).astype(np.int64)
        rows = np.full(len(keys), -1, np.int64)
        open_ = np.flatnonzero(keys)
        while len(open_):
            cells = (home[open_, None] + _WINDOW) & self._mask
            there = self._keys[cells]
            hit = there == keys[open_, None]
            at = hit.argmax(1)
            line = np.arange(len(open_))
            found = hit[line, at]
            rows[open_[found]] = self._rows[cells[line[found], at[found]]]
            further = ~found & there.all(1)  # neither the key nor an empty cell: look in the next window
            open_ = open_[further]
            home[open_] += len(_WINDOW)
        return rows

    def insert(self, keys: Array, rows: Array) -> None:
        """Add keys that are absent, each once."""
        if 2 * (self._taken + len(keys)) > len(self._keys):
            live = self._rows >= 0
            old_keys, old_rows = self._keys[live], self._rows[live]
            self._clear(max(_SMALLEST_BITS, int(4 * (len(old_keys) + len(keys)) - 1).bit_length()))
            self._place(old_keys, old_rows)
        self._place(keys, rows)

    def _place(self, keys: Array, rows: Array) -> None:
        cells = (keys * _SPREAD >> self._shift).astype(np.int64)
        while len(keys):
            there = self._keys[cells]
            empty = there == 0
            self._keys[cells[empty]] = keys[empty]  # of two keys that want a cell one stays; the other goes on below
            placed = self._keys[cells] == keys
            self._rows[cells[placed]] = rows[placed]
            self._taken += int((placed & empty).sum())
            keys, rows, cells = keys[~placed], rows[~placed], (cells[~placed] + 1) & self._mask

    def remove(self, keys: Array) -> None:
        """Forget keys that are present."""
        cells = (keys * _SPREAD >> self._shift).astype(np.int64)
        while len(keys):
            found = self._keys[cells] == keys
            self._rows[cells[found]] = -1
            keys, cells = keys[~found], (cells[~found] + 1) & self._mask
