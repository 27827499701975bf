"""Numbers that look random and follow from a key alone."""
from __future__ import annotations

import numpy as np

Array = np.ndarray

_UNIT = 2.0**-53


def mixed(keys: Array) -> Array:
    """Splitmix64's finaliser: a bijection on uint64 whose bits look random."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def sampled(keys: Array, halvings: int) -> Array:
    """Mask [n] of the keys in a sample that was halved so often, by a threshold on their hash: who is in one was in all before it.

    >>> sampled(np.arange(1, 9, dtype=np.uint64), 1).tolist()
    [True, False, True, False, False, False, True, False]
    """
    if halvings >= 64:
        return np.zeros(len(keys), np.bool_)
    kept: Array = mixed(keys) <= np.uint64((1 << (64 - halvings)) - 1)
    return kept


def uniform(keys: Array, width: int, seed: int) -> Array:
    """U(-1, 1) as float32 [len(keys), width], by key and seed alone."""
    with np.errstate(over="ignore"):
        start = mixed(keys + np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15))
        bits = mixed(start[:, None] + np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    return ((bits >> np.uint64(11)) * (2 * _UNIT) - 1).astype(np.float32)
