"""The chance of each candidate to be the best of those that stand nowhere yet, by what is believed of their scores.

    P(k) = integral of f_k(y) prod over j != k of F_j(y) dy,     score of j ~ N(mean_j, sd_j^2), independent

as in MODEL.md section 6, for hundreds of arms and place after place: on at most NODES quantiles of the arms as a grid, f_k exact between
two nodes (as a difference of F_k), the others at the middle. What is drawn is drawn from this vector, so the grid costs no exactness of
propensities. The product without k is a difference of logarithms, which Gaussian arms have at any distance. Arms whose upper end stays
below what the places will hold anyway are left out (at most ARMS stay): nothing but the floor of the caller reaches them.
Shapes: K arms, G intervals.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import special

Array = np.ndarray

ARMS, NODES = 128, 64
REACH = 3.5  # standard deviations: of what is left out, one in 4,000 would have come above the last place
_QUANTILES = np.array([-4.0, -2.5, -1.5, -0.7, 0.0, 0.7, 1.5, 2.5, 4.0])
_LEAST_SD = 1e-9  # against the spread of the means


class BestOfMany:
    """Candidates and what is believed of them. `places`: how many are to be filled."""

    def __init__(self, keys: Sequence[int], mean: Array, sd: Array, places: int) -> None:
        mean, sd = np.asarray(mean, float), np.asarray(sd, float)
        sd = np.maximum(sd, _LEAST_SD * max(1.0, float(np.ptp(mean)) if len(mean) else 1.0))
        upper = mean + REACH * sd
        last = np.partition(mean, -places)[-places] if len(mean) > places else -np.inf
        kept = np.flatnonzero(upper >= last)
        kept = np.sort(kept[np.argsort(-upper[kept], kind="stable")[: max(ARMS, places)]])
        self.keys = [keys[n] for n in kept.tolist()]
        mean, sd = mean[kept], sd[kept]
        nodes = np.unique(mean[:, None] + sd[:, None] * _QUANTILES)
        if len(nodes) > NODES:
            nodes = nodes[np.linspace(0, len(nodes) - 1, NODES).astype(int)]
        middle = (nodes[1:] + nodes[:-1]) / 2
        self._mass = np.diff(special.ndtr((nodes - mean[:, None]) / sd[:, None]), axis=1)  # [K, G]
        self._below = special.log_ndtr((middle - mean[:, None]) / sd[:, None])  # [K, G]

    def __call__(self, allowed: Array) -> Array:
        """Mask [K] of `keys` that may stand there -> probabilities [K], 0 of the others; zeros where none may."""
        out = np.zeros(len(self.keys))
        at = np.flatnonzero(allowed)
        if len(at):
            below = self._below[at]
            probability = (self._mass[at] * np.exp(below.sum(0) - below)).sum(1)
            total = probability.sum()
            out[at] = probability / total if total > 0 else 1 / len(at)
        return out

    def among(self, allowed: Callable[[int], bool]) -> dict[int, float]:
        """Of each candidate that may stand there and has a chance."""
        probabilities = self(np.array([allowed(key) for key in self.keys], bool)).tolist()
        return {key: p for key, p in zip(self.keys, probabilities, strict=True) if p > 0}
