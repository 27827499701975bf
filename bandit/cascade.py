"""Which places of a page were looked at, and what a click at a place is worth.

A list is read from the top: all down to the last place that was touched, or the deepest that is known to have been seen, was looked
at; what lies below says nothing (cascade model, Craswell et al., WSDM 2008; Bendada et al., arXiv 2009.06546, section 3).
Shapes: N pages, L places.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray


def examined(touched: Array, deepest: Array) -> Array:
    """Touched places [N, L], number of places known to have been seen [N] (0: unknown) -> [N, L] looked at."""
    places = np.arange(touched.shape[1])
    last = np.where(touched, places + 1, 0).max(1, initial=0)
    return places < np.maximum(last, deepest)[:, None]


def examination(clicks: Array, shown: Array) -> Array:
    """Clicks and showings [L] of pages in random order -> the chance that a place is looked at, the most looked at = 1.

    In random order every place has the same modules on average, so that clicks differ by examination alone. A place is drawn to the
    one above by 20 showings, and never looked at more than it.
    """
    rates = clicks / np.maximum(shown, 1)
    out = np.empty(len(rates))
    above = rates[0]
    for place, (click, n) in enumerate(zip(clicks, shown, strict=True)):
        above = out[place] = min(above, (click + 20 * above) / (n + 20))
    return out / out[0] if out[0] > 0 else np.ones(len(out))


def by_place(reward: Array, place: Array, theta: Array) -> Array:
    """Rewards [N] at places [N] over the chance theta [L] to be looked at, cut at 1: the fall-back where depth is not known."""
    return np.minimum(reward / theta[place], 1.0)
