"""An item's embedding as the product gives it (audio, text, a picture), brought to one size for the towers.

It has length 1 afterwards, and more numbers than SIZE become sums with signs that are fixed for ever: distances stay nearly as they were
(Achlioptas, "Database-friendly random projections", 2003). So all items' embeddings must come from one model.
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from online_model.features import EMBEDDING

Array = np.ndarray

MOST = 1024  # numbers of an embedding


def packed(embedding: Sequence[float]) -> bytes:
    """float32 [EMBEDDING] of length 1; empty where there is none, or nothing but zeros.

    >>> np.frombuffer(packed((3.0, 0.0, -3.0, 3.0, 3.0)), "<f4")[:5].tolist(), packed(()), packed((0.0, 0.0))
    ([0.5, 0.0, -0.5, 0.5, 0.5], b'', b'')
    """
    given = np.asarray(embedding, np.float64)
    length = float(np.linalg.norm(given))
    if not 0 < length < np.inf:
        return b""
    out = np.zeros(EMBEDDING)
    if len(given) <= EMBEDDING:
        out[: len(given)] = given / length
    else:
        out = (given / length) @ _signs(len(given))
        out /= max(float(np.linalg.norm(out)), 1e-9)
    return out.astype("<f4").tobytes()


@lru_cache(maxsize=4)
def _signs(size: int) -> Array:
    return np.random.default_rng(0).integers(0, 2, (size, EMBEDDING)) * 2.0 - 1.0
