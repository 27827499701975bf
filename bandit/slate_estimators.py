"""The same question of whole lists: what would the slots of a list have earned together under another policy?

SIPS weighs the whole list, IIPS each slot by itself (items are drawn independently, or the weights are of marginals), RIPS each slot by
the list down to it (a user looks from the top; McInerney et al., KDD 2020), Cascade-DR that with a model of the reward (Kiyohara et
al., WSDM 2022, arXiv 2202.01562, equation 5).
Shapes: S lists, K slots; `present` [S, K] marks the slots that a list has. Results [S]: what each list adds to the mean.
"""
from __future__ import annotations

import numpy as np

from bandit.estimators import MOST_WEIGHT

Array = np.ndarray


def cumulative(w: Array, present: Array) -> Array:
    """Weights of the list down to each slot [S, K], at most MOST_WEIGHT; w [S, K] of a slot given those before it.

    >>> cumulative(np.array([[2.0, 0.5, 9.0]]), np.array([[True, True, False]])).tolist()
    [[2.0, 1.0, 1.0]]
    """
    out = np.where(present, w, 1.0)
    for slot in range(1, out.shape[1]):
        out[:, slot] = np.minimum(out[:, slot - 1] * out[:, slot], MOST_WEIGHT)
    return out


def sips(w: Array, r: Array, present: Array) -> Array:
    """The whole slate weighs each of its rewards."""
    return cumulative(w, present)[:, -1] * (r * present).sum(1)


def iips(w: Array, r: Array, present: Array) -> Array:
    """Each position by its own weight."""
    return (w * r * present).sum(1)


def rips(w: Array, r: Array, present: Array) -> Array:
    """Each position by the weight of the slate down to it."""
    return (cumulative(w, present) * r * present).sum(1)


def cascade_dr(w: Array, r: Array, q: Array, q_policy: Array, present: Array) -> Array:
    """Σ_k w_{1:k} (r − q̂) + w_{1:k−1} q̂_π; q̂ [S, K] of the logged item in its slot, q̂_π of the policy there.

    Both predict the slot's own reward, as if the slots below had a reward of their own that no item above changes.
    """
    down_to = cumulative(w, present)
    before = np.concatenate((np.ones((len(w), 1)), down_to[:, :-1]), 1)
    return (present * (down_to * (r - q) + before * q_policy)).sum(1)
