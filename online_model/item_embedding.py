"""An item's embedding as the product gives it (audio, text, a picture), brought to one width for the towers.

It has length 1 afterwards. All items' embeddings must come from one model: numbers of another one point elsewhere.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from online_model.features import EMBEDDING
from online_model.projection import of_width

MOST = 1024  # numbers of an embedding
BOUND = 1e9  # of each of them, either side of 0


def packed(embedding: Sequence[float]) -> bytes:
    """float32 [EMBEDDING] of length 1; empty where there is none, or nothing but zeros.

    >>> np.frombuffer(packed((3.0, 0.0, -3.0, 3.0, 3.0)), "<f4")[:5].tolist(), packed(()), packed((0.0, 0.0))
    ([0.5, 0.0, -0.5, 0.5, 0.5], b'', b'')
    """
    if not any(embedding):
        return b""
    given = np.asarray(embedding, np.float64)
    return of_width(given[None] / np.abs(given).max(), EMBEDDING)[0].astype("<f4").tobytes()
