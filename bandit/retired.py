"""Arms that were taken out of a grid keep what they learned for a while: one that is put back goes on from there.

Meanwhile their sums fade, and are cut at an alarm of drift, as those of the arms that stayed. Windows of drift are not kept.
Shapes: R retired arms, G segments; first place: experience, revenue.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bandit.arms import Arms
from bandit.linear import LinearArms

Array = np.ndarray

_AXIS = {"won": 2, "lost": 2, "squares": 2, "linear.gram": 0, "linear.by": 1, "linear.squares": 1}  # in which arms are counted


class RetiredArms:
    """What they learned, and for how many rounds they have been away."""

    def __init__(self, rounds: Mapping[str, int], sums: Mapping[str, Array]) -> None:
        """`rounds`: since each arm was last in the grid, by name; `sums`: by the names of `Policy.arrays`, arms in the same order."""
        self.rounds = dict(rounds)
        self._sums = dict(sums)

    def fade(self, segment: Array, memory: float, most: float) -> None:
        """Rounds [N] of the other arms: what a segment has fades by 1 - 1/memory each; who has been away for `most` rounds is forgotten."""
        if self.rounds:
            self._of_segments().fade(segment, memory)
            kept = [name for name in self.rounds if self.rounds[name] + len(segment) < most]
            if len(kept) < len(self.rounds):
                self._sums = taken(self._sums, [k for k, name in enumerate(self.rounds) if name in kept])
            self.rounds = {name: self.rounds[name] + len(segment) for name in kept}

    def fade_linear(self, n: int, memory: float) -> None:
        """The same of linear arms, of rounds with a vector."""
        for name in self._linear():
            self._sums[name] = self._sums[name] * LinearArms.kept(n, memory)

    def retain(self, segments: Sequence[int], share: float) -> None:
        """Keep only a share of what these segments learned; of what linear arms did, if there are any."""
        if self.rounds and segments:
            for segment in segments:
                self._of_segments().retain(segment, share)
            for name in self._linear():
                self._sums[name] = self._sums[name] * share

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint; nothing where no arm is retired."""
        return {name: array.copy() for name, array in self._sums.items()} if self.rounds else {}

    def _of_segments(self) -> Arms:
        return Arms(self._sums["won"], self._sums["lost"], self._sums["squares"])

    def _linear(self) -> list[str]:
        return [name for name in self._sums if name.startswith("linear.")] if self.rounds else []


def joined(arrays: Mapping[str, Array], retired: Mapping[str, Array]) -> dict[str, Array]:
    """Sums of arms, those of retired ones behind them."""
    return {name: np.concatenate([arrays[name], retired[name]], _AXIS[name]) if name in retired else arrays[name] for name in sums(arrays)}


def sums(arrays: Mapping[str, Array]) -> list[str]:
    """Those of the arrays that have a place for each arm."""
    return [name for name in _AXIS if name in arrays]


def taken(arrays: Mapping[str, Array], arms: Sequence[int]) -> dict[str, Array]:
    """The sums of some arms, in this order."""
    return {name: np.take(arrays[name], arms, _AXIS[name]) for name in sums(arrays)}
