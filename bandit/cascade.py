"""Which places of a page were looked at.

A page is read from the top: a user looked at all places down to the last one touched, or to the deepest one known to be seen.
Nothing is known of the places below (cascade model, Craswell et al., WSDM 2008; Bendada et al., arXiv 2009.06546, section 3).
Shapes: N pages, L places.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray


def examined(touched: Array, deepest: Array) -> Array:
    """Touched places [N, L], number of places known to be seen [N] (0: unknown) -> [N, L] looked at.

    >>> examined(np.array([[False, True, False], [False, False, False]]), np.array([0, 1])).astype(int).tolist()
    [[1, 1, 0], [1, 0, 0]]
    """
    places = np.arange(touched.shape[1])
    last = np.where(touched, places + 1, 0).max(1, initial=0)
    return places < np.maximum(last, deepest)[:, None]
