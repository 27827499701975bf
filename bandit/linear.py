"""Bayesian linear arms: what an arm earns as a linear function of who asks, with all that is uncertain of it.

    x = [1, one-hot of the segment, vector]     (a prior alike for all three: everybody's mean, a segment's part, a user's own)
    L = prior_rounds I + sum x x',   m = p e_1 + L^-1 sum (r - p) x,   mean = m'x,   variance = s^2 x' L^-1 x
    s^2 = (prior_rounds p (1 - p) + sum (r - p)^2 - (m - p e_1)' L (m - p e_1)) / (prior_rounds + rounds)

with p, what is expected of a new arm: Thompson sampling for linear payoffs (Agrawal & Goyal, arXiv 1209.3352; Chapelle & Li, NIPS 2011)
on what a network says of the context (Riquelme et al., arXiv 1802.09127). With x = [1] it is the Gaussian arm of `arms.py`.
Departs from MODEL.md section 6: what the network said then can't be said anew once it has moved on, so that older rounds fade for all
arms together, by 1 - 1/memory a round, in place of a ring of rounds to rebuild from; it fades to the prior alike.
Off by default: over 12 worlds of 1,500 visits (those of `replay.proofs.pages`, no floor) experience differed from that of segments' Beta
arms by -.002 [-.009, .005], regret in hindsight by .0001 [-.004, .004].
Shapes: N rounds, G segments, K arms, V numbers of a vector, D = 1 + G + V; first place: experience, revenue.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray

VECTOR = 32  # numbers that tell who asks (MODEL.md section 6)


class LinearArms:
    """Sums of rewards in [0, 1], and the posteriors that they give."""

    def __init__(self, segments: int, arms: int, rates: Array, prior_rounds: float) -> None:
        width = 1 + segments + VECTOR
        self.gram = np.zeros((arms, width, width))  # of x x'
        self.by = np.zeros((2, arms, width))  # of r x
        self.squares = np.zeros((2, arms))  # of r^2
        self._segments, self._prior, self._prior_rounds = segments, np.asarray(rates, float) / 2, prior_rounds
        self._solved: tuple[Array, Array, Array] | None = None

    def add(self, segment: Array, vector: Array, arm: Array, rewards: Array, memory: float) -> None:
        """Rounds: segments [N], vectors [N, V], arms [N], rewards [2, N], oldest first."""
        x, kept = self._x(segment, vector), 1.0 - 1.0 / memory
        weight = kept ** np.arange(len(x) - 1.0, -1.0, -1.0)
        for sums in (self.gram, self.by, self.squares):
            sums *= self.kept(len(x), memory)
        for k in np.unique(arm).tolist():
            of_arm = arm == k
            weighed, r = x[of_arm] * weight[of_arm, None], rewards[:, of_arm]
            self.gram[k] += weighed.T @ x[of_arm]
            self.by[:, k] += r @ weighed
            self.squares[:, k] += (r * r) @ weight[of_arm]
        self._solved = None

    @staticmethod
    def kept(n: int, memory: float) -> float:
        """What is left of all sums after `n` rounds."""
        return (1.0 - 1.0 / memory) ** n

    def retain(self, share: float) -> None:
        """Keep only a share of all that was learned: a segment's part can't be told from everybody's."""
        for sums in (self.gram, self.by, self.squares):
            sums *= share
        self._solved = None

    def posteriors(self, segment: int, vector: Array) -> tuple[Array, Array]:
        """Mean and variance [2, K] of what each arm earns of who asks."""
        inverse, shift, spread = self._solve()  # sums from here on, not products of matrices: an arm's own figures in any place
        x = self._x(np.array([segment]), np.asarray(vector, float)[None])[0]
        return self._prior[:, None] + (shift * x).sum(2), spread * ((inverse * x).sum(2) * x).sum(1)

    def arrays(self) -> dict[str, Array]:
        """Everything, arms in the second place from the front but of `gram`, where they stand first."""
        return {"gram": self.gram.copy(), "by": self.by.copy(), "squares": self.squares.copy()}

    def load(self, arrays: dict[str, Array], saved: list[int], current: list[int]) -> None:
        """Restore `arrays()`: the arms with numbers `saved` in it, which have the numbers `current` now; the others begin."""
        for sums in (self.gram, self.by, self.squares):
            sums[:] = 0.0
        self.gram[current] = arrays["gram"][saved]
        self.by[:, current], self.squares[:, current] = arrays["by"][:, saved], arrays["squares"][:, saved]
        self._solved = None

    def _x(self, segment: Array, vector: Array) -> Array:
        return np.concatenate([np.ones((len(segment), 1)), np.eye(self._segments)[segment], vector], 1)

    def _solve(self) -> tuple[Array, Array, Array]:
        """L^-1 [K, D, D], m - p e_1 [2, K, D], s^2 [2, K]."""
        if self._solved is None:
            p, n0 = self._prior[:, None], self._prior_rounds
            rounds, sums = self.gram[:, 0, 0], self.by[:, :, 0]
            inverse = np.linalg.inv(self.gram + n0 * np.eye(self.gram.shape[1]))
            residuals = self.by - p[:, :, None] * self.gram[:, 0]
            shift = np.einsum("kde,ike->ikd", inverse, residuals)
            left = self.squares - 2 * p * sums + p * p * rounds - (shift * residuals).sum(2)
            spread = (n0 * p * (1 - p) + np.maximum(left, 0.0)) / (n0 + rounds)
            self._solved = inverse, shift, np.maximum(spread, 1e-6)
        return self._solved
