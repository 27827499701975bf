"""Draws of arms from their probabilities: one, or a whole slate without replacement.

A slate is drawn place by place from the probabilities of what is left (Plackett-Luce). The propensity of each place given those before
it is then known, and with it that of the whole order. Shapes: N slates, K arms, L places.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray


def one_by_one(probabilities: Array, uniform: Array) -> tuple[Array, Array]:
    """Probabilities [N, K], numbers [N, L] in [0, 1) -> arms [N, L], the propensity of each given those before it [N, L].

    Raises ValueError where fewer than L arms have a probability above 0.
    """
    if ((probabilities > 0).sum(1) < uniform.shape[1]).any():
        raise ValueError(f"a slate of {uniform.shape[1]} places needs as many arms that have a chance")
    left, rows = np.array(probabilities, float), np.arange(len(probabilities))
    slate, given = np.empty(uniform.shape, np.int64), np.empty(uniform.shape)
    for place in range(uniform.shape[1]):
        left /= left.sum(1, keepdims=True)
        slate[:, place] = drawn = pick(left, uniform[:, place])
        given[:, place] = left[rows, drawn]
        left[rows, drawn] = 0.0
    return slate, given


def pick(probabilities: Array, uniform: Array) -> Array:
    """Probabilities [N, K] that sum to 1, numbers [N] in [0, 1) -> arms [N]; never one of probability 0.

    >>> pick(np.array([[0.25, 0.75]] * 2), np.array([0.2, 0.3])).tolist()
    [0, 1]
    """
    cumulative = np.cumsum(probabilities, 1)
    drawn = (uniform[:, None] * cumulative[:, -1:] >= cumulative).sum(1)
    return np.minimum(drawn, probabilities.shape[1] - 1 - np.argmax(probabilities[:, ::-1] > 0, 1))
