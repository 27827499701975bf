"""What Open Bandit's Bernoulli Thompson sampling did in production: an item's exact chance at each of a page's three positions.

The priors of the campaign "men" are those published with the data (Saito et al., NeurIPS Datasets and Benchmarks 2021; in obp,
`production_prior_for_bts.yaml`); no posterior was ever updated, so the chances hold for the whole log. The logged propensities are those
of 10⁵ or so simulated pages, rounded; these are by quadrature.
"""
from __future__ import annotations

import numpy as np

from bandit import quadrature

Array = np.ndarray

POSITIONS = (1, 2, 3)
ALPHA = (
    47, 8, 62, 142, 3, 6, 100, 48, 23, 71, 61, 13, 16, 518, 30, 7, 4, 23, 8, 10, 11, 11, 18, 121, 11, 4, 32, 30, 9, 22, 6, 23, 5, 54,
)  # fmt: skip
BETA = (
    12198, 3566, 15993, 35522, 2367, 3100, 24665, 13210, 7061, 18061, 17449, 5644, 6787, 111326, 8776, 3334, 2271, 7389, 2659, 3665,
    4724, 3561, 5085, 27407, 4601, 2923, 8897, 8654, 4000, 6580, 3174, 6766, 2602, 14506,
)  # fmt: skip


def marginals() -> Array:
    """[3 positions, 34 items]: each position sums to 1."""
    found: Array = quadrature.beta(np.array(ALPHA, float), np.array(BETA, float), len(POSITIONS)).T
    return found
