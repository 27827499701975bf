"""What each arm earned, by segment: sums that a Beta or a Gaussian posterior is made of.

A segment is drawn to all segments together: its prior is worth `prior_rounds` at the arm's mean over all of them, whose own prior is
half the expected rate (MODEL.md section 6). Sums may fade, as far as all arms of a segment do so together: discounted Thompson
sampling, Raj & Kalyani, arXiv 1707.09727 (algorithm 1). Shapes: N rounds, G segments, K arms; first place: experience, revenue.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bandit.settings import LEAST_SHAPE

Array = np.ndarray

EXPERIENCE, REVENUE = 0, 1


@dataclass(slots=True)
class Arms:
    """Rewards r in [0, 1]: won = sums of r, lost = of 1 - r, squares = of r^2; each [2, G, K]."""

    won: Array
    lost: Array
    squares: Array

    def add(self, segment: Array, arm: Array, rewards: Array, memory: float) -> None:
        """Rounds [N] with rewards [2, N], oldest first; each fades what its segment has by 1 - 1/memory. All at once = one by one."""
        rounds = self.fade(segment, memory)
        order = np.argsort(segment, kind="stable")
        starts = np.cumsum(rounds) - rounds
        later = np.empty(len(segment), np.int64)  # rounds of the same segment that come after
        later[order] = (rounds + starts)[segment[order]] - 1 - np.arange(len(segment))
        kept = 1.0 - 1.0 / memory
        weight, place = kept**later, segment * self.won.shape[2] + arm
        for sums, values in ((self.won, rewards), (self.lost, 1.0 - rewards), (self.squares, rewards * rewards)):
            for objective, value in enumerate(values):
                sums[objective] += np.bincount(place, weight * value, sums[objective].size).reshape(sums[objective].shape)

    def fade(self, segment: Array, memory: float) -> Array:
        """Rounds [N] fade what their segment has by 1 - 1/memory each; how many each segment [G] had."""
        rounds = np.bincount(segment, minlength=self.won.shape[1])
        for sums in (self.won, self.lost, self.squares):
            sums *= ((1.0 - 1.0 / memory) ** rounds)[:, None]
        return rounds

    def retain(self, segment: int, share: float) -> None:
        """Keep only a share of what a segment learned."""
        for sums in (self.won, self.lost, self.squares):
            sums[:, segment] *= share

    def beta(self, segment: int, rates: Array, prior_rounds: float) -> tuple[Array, Array]:
        """Shapes alpha, beta [2, K] of a segment's posteriors; rates [2]: what is expected of a round."""
        prior = self._prior(rates, prior_rounds)
        a, b = prior_rounds * prior + self.won[:, segment], prior_rounds * (1.0 - prior) + self.lost[:, segment]
        return np.maximum(a, LEAST_SHAPE), np.maximum(b, LEAST_SHAPE)

    def moments(self, segment: int, rates: Array, prior_rounds: float) -> tuple[Array, Array]:
        """Mean and variance [2, K] of the Beta posteriors."""
        a, b = self.beta(segment, rates, prior_rounds)
        return a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))

    def gaussian(self, segment: int, rates: Array, prior_rounds: float) -> tuple[Array, Array]:
        """Mean and variance [2, K] of an arm's mean, where rewards vary as those seen did, and before that as a coin."""
        prior = self._prior(rates, prior_rounds)
        n = prior_rounds + self.won[:, segment] + self.lost[:, segment]
        mean = (prior_rounds * prior + self.won[:, segment]) / n
        spread = (prior_rounds * prior + self.squares[:, segment]) / n - mean * mean
        return mean, np.maximum(spread, 1e-6) / n

    def _prior(self, rates: Array, prior_rounds: float) -> Array:
        won, lost = self.won.sum(1), self.lost.sum(1)
        return (prior_rounds * rates[:, None] / 2 + won) / (prior_rounds + won + lost)


def empty(segments: int, arms: int) -> Arms:
    """Nothing learned yet."""
    return Arms(*(np.zeros((2, segments, arms)) for _ in range(3)))
