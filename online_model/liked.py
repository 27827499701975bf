"""How much each liked behaviour counts in the mean that stands for what a user likes in a domain (MODEL.md section 5, v_d).

Shapes: S users, L behaviours, N domains.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray


def shares(place: Array, age_s: Array, there: Array, places: int, half_life_s: float) -> Array:
    """Domains [S, L], ages [S, L] and presence [S, L] of behaviours -> float32 [S, N, L]: sums to 1 over the behaviours of a domain, or 0.

    A behaviour counts half for each half-life by which it is older than that domain's newest: a user who was last there a year ago is
    known by what was liked then as well as one who was there today.
    """
    inside = there[:, None] & (place[:, None] == np.arange(places)[:, None])
    newest = np.where(inside, age_s[:, None], np.inf).min(2)
    older_s = np.where(there, age_s - np.take_along_axis(newest, place, 1), np.inf)
    out = (np.exp2(older_s * (-1 / half_life_s))[:, None] * inside).astype(np.float32, copy=False)
    out /= np.maximum(out.sum(2, keepdims=True), 1)
    return out
