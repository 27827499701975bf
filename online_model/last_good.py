"""What to go back to when steps stop working: the small state as it stood when it was last known to be finite.

A step whose gradient is not finite is skipped, which leaves the state as it was (MODEL.md section 7). Where the next ones fail as
well, it is the state that is broken: after AFTER of them in a row the dense part is put back, and rows that are not finite are
dropped, to be born again. Rows that are finite stay: each was moved by few examples, and copies of them all would double the memory.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray

AFTER = 5  # skipped steps in a row
EVERY = 256  # steps between two copies: what a rollback loses of the dense part at most


class LastGood:
    """A copy of the arrays, taken by the count of steps alone, so that a rerun goes back to the same state."""

    def __init__(self, arrays: dict[str, Array], every: int = EVERY) -> None:
        self.arrays, self.every = arrays, every
        self.steps = 0  # since the copy
        self.failed = 0  # in a row, up to now
        self.rollbacks = 0

    def due(self) -> bool:
        """Count a step that worked; whether it is time for a copy."""
        self.failed = 0
        self.steps += 1
        return self.steps >= self.every

    def keep(self, arrays: dict[str, Array]) -> None:
        """Take these arrays for good, if they are: else the older ones stay, and it is tried again at the next step."""
        if all(np.isfinite(array).all() for array in arrays.values()):
            self.arrays, self.steps = arrays, 0

    def give_up(self) -> bool:
        """Count a step that failed; whether to go back now."""
        self.failed += 1
        if self.failed < AFTER:
            return False
        self.failed = self.steps = 0
        self.rollbacks += 1
        return True

    def meta(self) -> list[int]:
        """Beside the arrays, for a checkpoint."""
        return [self.steps, self.failed, self.rollbacks]

    def load(self, arrays: dict[str, Array], meta: list[int]) -> None:
        """The state that `arrays` and `meta` gave."""
        self.arrays = arrays
        self.steps, self.failed, self.rollbacks = meta
