"""Orders of arms, and the exact chance of what stands where.

Two ways. `ranked`: arms by one draw of each; the chances of an arm by place are those of quadrature.py, right for weights by slot.
`one_by_one`: every place drawn from the chances of what is left; the chance of a place given those above, and with it that of the
whole order, is then known as well, right for weights that grow down the list. Shapes: N slates, K arms, L places.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray


def one_by_one(chances: Array, uniform: Array) -> tuple[Array, Array]:
    """Chances [N, K], numbers [N, L] in [0, 1) -> arms [N, L], the chance of each given those above [N, L]."""
    if ((chances > 0).sum(1) < uniform.shape[1]).any():
        raise ValueError(f"a slate of {uniform.shape[1]} places needs as many arms that have a chance")
    left, rows = np.array(chances, float), np.arange(len(chances))
    slate, given = np.empty(uniform.shape, np.int64), np.empty(uniform.shape)
    for place in range(uniform.shape[1]):
        left /= left.sum(1, keepdims=True)
        slate[:, place] = drawn = pick(left, uniform[:, place])
        given[:, place] = left[rows, drawn]
        left[rows, drawn] = 0.0
    return slate, given


def ranked(draws: Array, explores: Array, order: Array, places: int) -> Array:
    """Draws [N, K], best first -> arms [N, places]; where a slate explores [N], it is a random order [N, K] instead."""
    best = np.argsort(-draws, 1, kind="stable")
    return np.where(explores[:, None], order, best)[:, :places]


def pick(chances: Array, uniform: Array) -> Array:
    """Chances [N, K] that sum to 1, numbers [N] in [0, 1) -> arms [N]; none of chance 0."""
    below = np.cumsum(chances, 1)
    drawn = (uniform[:, None] * below[:, -1:] >= below).sum(1)
    return np.minimum(drawn, chances.shape[1] - 1 - np.argmax(chances[:, ::-1] > 0, 1))
