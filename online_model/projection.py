"""Vectors brought to a width, with their directions nearly as they were.

Achlioptas, "Database-friendly random projections", 2003. Shapes: B vectors of N numbers.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray


def of_width(vectors: Array, width: int) -> Array:
    """[B, N] -> float64 [B, width] of length 1; zeros stay zeros.

    More numbers than `width` become sums with signs that are fixed for ever, fewer are followed by zeros.

    >>> of_width(np.array([[3.0, 4.0], [0.0, 0.0]]), 3).tolist()
    [[0.6, 0.8, 0.0], [0.0, 0.0, 0.0]]
    """
    n = vectors.shape[1]
    signs = np.random.default_rng(0).integers(0, 2, (n, width)) * 2.0 - 1.0 if n > width else np.eye(n, width)
    out = vectors.astype(np.float64) @ signs
    return out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-9)
