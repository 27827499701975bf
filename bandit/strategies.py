"""The ways in which a page can be put in order, and what each makes of the same figures.

A category has a preference (what the model thinks this user makes of it) and a monetization; both are z-scored over the categories
that are considered, so that a weight means the same for every user and every catalog. Shapes: C categories, L places.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from bandit.slates import one_by_one

Array = np.ndarray
Kind = Literal["blend", "tail", "explore", "fixed"]

_EVEN = 1e-12  # a spread below it, relative to the figures themselves, is rounding


class Strategy(msgspec.Struct, frozen=True):
    """One way to order modules. `alpha`: monetization's weight in a blend, preference has the rest."""

    name: str
    kind: Kind
    alpha: float = 0.0


def strategies(blends: Sequence[float]) -> tuple[Strategy, ...]:
    """The grid of blends, then long tail first, order by chance, and the control arm of three modules."""
    grid = [Strategy(f"blend-{alpha:g}", "blend", alpha) for alpha in blends]
    return *grid, Strategy("tail", "tail"), Strategy("explore", "explore"), Strategy("fixed", "fixed")


def zscores(x: Array) -> Array:
    """[C] -> mean 0 and (population) deviation 1; where all are alike, 0."""
    if not len(x):
        return np.zeros(0)
    away = x - x.mean()
    spread = float(np.sqrt((away * away).mean()))
    return away / spread if spread > _EVEN * float(np.abs(x).max()) else np.zeros(len(x))


def scores(strategy: Strategy, preference: Array, monetization: Array, mass: Array) -> Array:
    """What a strategy orders categories by, from preference, monetization and popularity mass [C], none of them z-scored yet."""
    z = zscores(preference)
    match strategy.kind:
        case "blend":
            return (1.0 - strategy.alpha) * z + strategy.alpha * zscores(monetization)
        case "tail":
            return z - zscores(mass)
        case "explore":
            return z
        case "fixed":
            raise ValueError("the control arm has no order of categories")


def order(strategy: Strategy, score: Array, uniform: Array) -> tuple[Array, Array]:
    """Scores [C], numbers [L] in [0, 1) -> L categories, first to last, and the propensity of each given those above it.

    Exploring draws each place from what is left, by softmax of the scores (Plackett-Luce: Luce, 1959; Plackett, 1975); all others put
    the highest first, equal ones in the order given.
    """
    places = min(len(score), len(uniform))
    if strategy.kind != "explore":
        return np.argsort(-score, kind="stable")[:places], np.ones(places)
    weight = np.exp(score - score.max(initial=-np.inf))
    slate, given = one_by_one(weight[None], uniform[None, :places])
    return slate[0], given[0]
