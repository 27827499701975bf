"""State that a checkpoint holds: named attributes of an object, as arrays and back. Without torch, which most of its users don't need."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray


class Saved:
    """An object whose state is the attributes that its class names: in `saved` tensors, arrays and numbers, one array each; in `packed`
    integers, several in one int64 array.

    >>> class Mean(Saved):
    ...     saved = ("total", "n")
    ...     def __init__(self, total: float, n: int) -> None:
    ...         self.total, self.n = total, n
    >>> restored = Mean(0.0, 0)
    >>> restored.load(Mean(2.5, 4).arrays())
    >>> restored.total, restored.n
    (2.5, 4)
    """

    saved: ClassVar[tuple[str, ...]]
    packed: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    def arrays(self) -> dict[str, Array]:
        """Copies by attribute, without a leading underscore; a number is an array without dimensions."""
        out = {}
        for name in self.saved:
            value: Any = getattr(self, name)
            out[name.lstrip("_")] = value.numpy(force=True).copy() if hasattr(value, "copy_") else np.array(value)
        return out | {name: np.array([getattr(self, each) for each in names], np.int64) for name, names in self.packed.items()}

    def load(self, arrays: dict[str, Array]) -> None:
        """Restore `arrays()`. A tensor is written in place, so that views of it follow; a number keeps its type."""
        for name in self.saved:
            current: Any = getattr(self, name)
            array = arrays[name.lstrip("_")]
            if hasattr(current, "copy_"):
                current.copy_(current.new_tensor(array))
            else:
                setattr(self, name, array.copy() if isinstance(current, np.ndarray) else type(current)(array))
        for name, names in self.packed.items():
            for each, value in zip(names, arrays[name].tolist(), strict=True):
                setattr(self, each, value)


def prefixed(name: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """Arrays of a part under its name.

    >>> prefixed("platt", {"slope": 1, "offset": 0})
    {'platt.slope': 1, 'platt.offset': 0}
    """
    return {f"{name}.{key}": array for key, array in arrays.items()}


def part(name: str, arrays: dict[str, Array]) -> dict[str, Array]:
    """The reverse of `prefixed`.

    >>> part("platt", {"platt.slope": 1, "base.n": 0})
    {'slope': 1}
    """
    return {key.removeprefix(f"{name}."): array for key, array in arrays.items() if key.startswith(f"{name}.")}
