"""Tables of trained rows by 64-bit key: looked up, admitted, expired, updated by row-wise Adagrad. Rows never collide.

Liu et al., "Monolith", 2209.07663 (collisionless table, admission, expiry). A key without a row reads as the row it would be
born with, which its hash alone seeds: so a prediction does not depend on whether or when a row was admitted.
Shapes: N occurrences of keys in a batch, U distinct keys in rising order, W width of a row.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from online_model.mixing import uniform
from online_model.rows import Rows

Array = np.ndarray

_EPSILON = 1e-8
_ABSENT = np.zeros(1, np.uint64)


@dataclass(slots=True)
class Occurrences:
    """Which distinct keys stand where in a batch. Key 0 = nothing, the first distinct key where it occurs."""

    keys: Array  # uint64 [U]
    inverse: Array  # int64 [N] index into keys
    order: Array  # int64 [N] occurrences sorted by key, equal ones in batch order
    lengths: Array  # int64 [U] occurrences of each key


@dataclass(slots=True)
class RowLookup:
    """Keys of a batch in one table: where they occur, their rows (0 = none), and the values at each occurrence."""

    seen: Occurrences
    rows: Array
    values: Tensor  # [N, W]


def occurrences(flat: Array, stable: bool = True) -> Occurrences:
    """Group the keys [N], absent ones (often most) unsorted. By a stable sort, so that sums over equal keys have one order; where
    nothing is summed a faster one does.
    """
    there = np.flatnonzero(flat)
    kept = flat[there]
    order = np.argsort(kept, kind="stable" if stable else "quicksort")
    ordered, order = kept[order], there[order]
    first = np.empty(len(kept), bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    starts = np.flatnonzero(first)
    keys, lengths = ordered[starts], np.diff(starts, append=len(kept))
    absent = len(flat) - len(kept)
    inverse = np.zeros(len(flat), np.int64)
    inverse[order] = np.cumsum(first) - (not absent)
    if absent:
        order = np.concatenate([np.flatnonzero(flat == 0), order])
        keys, lengths = np.concatenate([_ABSENT, keys]), np.concatenate([[absent], lengths])
    return Occurrences(keys, inverse, order, lengths)


def adagrad_step(gradient: Tensor, square: Tensor, decay: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """Row-wise Adagrad with forgetting: gradients [n, W], squares [n, S], decay [n, 1] -> (step to subtract, new squares).

    G <- decay * G + mean(g^2) over the row where S = 1, or g^2 of each element where S = W; step = rate * g / sqrt(G + 1e-8).
    """
    power = gradient * gradient
    if square.shape[1] == 1:
        power = power.mean(1, keepdim=True)
    square = square * decay + power
    return gradient * (rate / torch.sqrt(square + _EPSILON)), square


@dataclass(frozen=True, slots=True)
class RowInit:
    """The row that a new key gets."""

    spread: float | Sequence[float]  # its values lie within this of zero: one bound for all elements, or one each
    square: float  # its Adagrad square
    seed: int
    unborn: bool = True  # keys without a row read as the row they would get, else as zeros


class Table:
    """Rows [W] with their Adagrad squares: one a row, or one an element (`per_element`)."""

    def __init__(self, rows: Rows, width: int, init: RowInit, *, device: torch.device, per_element: bool = False) -> None:
        self.rows, self.width, self.init = rows, width, init
        self.spread = np.broadcast_to(np.asarray(init.spread, np.float32), (width,))
        self.weights = torch.zeros(len(rows.keys), width, device=device)
        self.squares = torch.zeros(len(rows.keys), width if per_element else 1, device=device)

    def read(self, keys: Array, rows: Array) -> Tensor:
        """Values [U, W] of distinct keys, given their rows (0 = none)."""
        values = self.weights.index_select(0, self._tensor(rows))
        if self.init.unborn and self.spread.any():
            unborn = np.flatnonzero((rows == 0) & (keys != 0))
            if len(unborn):
                values[self._tensor(unborn)] = self._birth(keys[unborn])
        return values

    def learn(self, keys: Array, rows: Array, admitted: Array, gradient: Tensor, now_ms: int, rate: float, half_life_ms: float) -> Array:
        """One Adagrad step on distinct keys [U] with rows [U] (0 = none) and summed gradients [U, W]; keys that lost their row.

        Keys marked in `admitted` [U] get a row first; what has none then is left alone.
        """
        idle = np.maximum(now_ms - self.rows.used_ms[rows], 0)
        self.rows.touch(rows[rows != 0], now_ms)  # before any eviction, so that none of these is evicted
        lost = np.zeros(0, np.uint64)
        births = np.flatnonzero(admitted & (rows == 0))
        if len(births):
            rows = rows.copy()
            rows[births], lost = self.admit(keys[births], now_ms)
            idle[births] = 0
        at = np.flatnonzero(rows)
        decay = np.exp2(idle[at] * (-1.0 / half_life_ms)).astype(np.float32)[:, None]
        place = self._tensor(rows[at])
        step, square = adagrad_step(
            gradient.index_select(0, self._tensor(at)), self.squares.index_select(0, place), self._tensor(decay), rate
        )
        self.weights.index_add_(0, place, step, alpha=-1)  # distinct rows: no order among them
        self.squares.index_copy_(0, place, square)
        return lost

    def admit(self, keys: Array, now_ms: int) -> tuple[Array, Array]:
        """Rows for keys that have none (0 where there was no room), as they are born, and the keys that lost theirs for it."""
        rows, lost = self.rows.born(keys, now_ms)
        self._grow()
        at = np.flatnonzero(rows)
        place = self._tensor(rows[at])
        self.weights[place] = self._birth(keys[at])
        self.squares[place] = self.init.square
        return rows, lost

    def write(self, keys: Array, values: Array, now_ms: int) -> None:
        """Set rows to values, admitting the keys that have none: how a serving copy follows."""
        rows = self.rows.find(keys)
        new = rows == 0
        if new.any():
            rows[new], _ = self.admit(keys[new], now_ms)
        kept = np.flatnonzero(rows)
        self.rows.touch(rows[kept], now_ms)
        self.weights[self._tensor(rows[kept])] = torch.from_numpy(values[kept]).to(self.weights.device)

    def drop_broken(self) -> Array:
        """Give up rows that are not finite; their keys. They are born again when they are next learned."""
        whole = torch.isfinite(self.weights).all(1) & torch.isfinite(self.squares).all(1)
        keys = self.rows.keys[np.flatnonzero(~whole.numpy(force=True))]
        self.rows.remove(keys[keys != 0])
        return keys[keys != 0]

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint."""
        high = self.rows.high
        weights, squares = (part[:high].numpy(force=True).copy() for part in (self.weights, self.squares))
        return self.rows.arrays() | {"weights": weights, "squares": squares}

    def load(self, arrays: dict[str, Array]) -> None:
        """The state that `arrays` gave."""
        self.rows.load(arrays)
        self.weights = torch.from_numpy(arrays["weights"].copy()).to(self.weights.device)
        self.squares = torch.from_numpy(arrays["squares"].copy()).to(self.squares.device)

    def _birth(self, keys: Array) -> Tensor:
        if not self.spread.any():
            return torch.zeros(len(keys), self.width, device=self.weights.device)
        born = uniform(keys, self.width, self.init.seed) * self.spread
        return torch.from_numpy(born).to(self.weights.device, non_blocking=True)

    def _grow(self) -> None:
        more = len(self.rows.keys) - len(self.weights)
        if more > 0:
            self.weights = torch.cat([self.weights, self.weights.new_zeros(more, self.width)])
            self.squares = torch.cat([self.squares, self.squares.new_zeros(more, self.squares.shape[1])])

    def _tensor(self, rows: Array) -> Tensor:
        return torch.from_numpy(rows).to(self.weights.device, non_blocking=True)


def summed(gradient: Tensor, seen: Occurrences) -> Tensor:
    """Gradients of occurrences [N, W] -> of distinct keys [U, W], equal keys added in batch order, no atomics."""
    device = gradient.device
    ordered = gradient.index_select(0, torch.from_numpy(seen.order).to(device, non_blocking=True))
    lengths = torch.from_numpy(seen.lengths).to(device, non_blocking=True)
    return torch.segment_reduce(ordered, "sum", lengths=lengths, axis=0, unsafe=True)


class Admission:
    """Counts the events of keys that have no row yet; a key is let in at its `threshold`-th event."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.events = np.zeros(len(rows.keys), np.int64)

    def ripe(self, keys: Array, events: Array, threshold: int, now_ms: int) -> Array:
        """Mask [n] of distinct keys that reach the threshold with these events; the others are remembered."""
        rows = self.rows.find(keys)
        total = events + self.events[rows]
        ripe = total >= threshold
        self.rows.remove(keys[ripe & (rows != 0)])
        new = ~ripe & (rows == 0)
        if new.any():
            rows[new], _ = self.rows.born(keys[new], now_ms)
            more = len(self.rows.keys) - len(self.events)
            if more > 0:
                self.events = np.concatenate([self.events, np.zeros(more, np.int64)])
        wait = ~ripe & (rows != 0)
        self.rows.touch(rows[wait], now_ms)
        self.events[rows[wait]] = total[wait]
        return ripe

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint."""
        return self.rows.arrays() | {"events": self.events[: self.rows.high].copy()}

    def load(self, arrays: dict[str, Array]) -> None:
        """The state that `arrays` gave."""
        self.rows.load(arrays)
        self.events = arrays["events"].copy()
