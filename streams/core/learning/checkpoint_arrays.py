"""Arrays of a checkpoint: each part of the state has a prefix of its own, and records are packed as bytes."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import xxhash

Array = np.ndarray
Value = TypeVar("Value")


class Restorable(Protocol):
    """A part of the state whose arrays are all there is to save."""

    def arrays(self) -> dict[str, Array]:
        """All state, by name."""

    def load(self, arrays: dict[str, Array]) -> None:
        """Restore `arrays()`."""


def prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays, each name after `prefix`: what `below` takes apart."""
    return {prefix + name: array for name, array in arrays.items()}


def below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose names begin with `prefix`, without it.

    >>> below("open.", {"open.batch": np.zeros(1), "watch.drift": np.ones(1)})
    {'batch': array([0.])}
    """
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def packed(records: Any) -> Array:
    """Records as the bytes of one array.

    >>> unpacked(packed([(1, "a")]), list[tuple[int, str]])
    [(1, 'a')]
    """
    return np.frombuffer(msgspec.msgpack.encode(records), np.uint8)


def unpacked(array: Array, type_: type[Value]) -> Value:
    """The records that `packed` was given."""
    return msgspec.msgpack.decode(array.tobytes(), type=type_)


def update_hash(h: xxhash.xxh3_128, arrays: Mapping[str, Array]) -> None:
    """Add names, shapes and bytes of the arrays to a hash, in the order of their names."""
    for name, array in sorted(arrays.items()):
        h.update(name.encode() + str(array.shape).encode() + np.ascontiguousarray(array).tobytes())
