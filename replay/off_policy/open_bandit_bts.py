"""What Open Bandit's Bernoulli Thompson sampling did in production: an item's exact probability at each of a page's three positions.

The priors of its three campaigns are those published with the data (Saito et al., NeurIPS Datasets and Benchmarks 2021; in obp,
`prior_bts.yaml`); no posterior was ever updated, so the probabilities hold for the whole log. The logged propensities are those of 10⁵
or so simulated pages, rounded; these are by quadrature. Items of a campaign are numbered from 0: the same number is another item in each.
"""
from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from bandit import quadrature
from replay.log_rows import LogError

Array = np.ndarray

POSITIONS = (1, 2, 3)


class Prior(NamedTuple):
    """Of each item's click rate, by its number."""

    alpha: tuple[int, ...]
    beta: tuple[int, ...]


PRIORS = {
    "all": Prior(
        alpha=(
            47, 8, 62, 142, 3, 14, 7, 857, 12, 15, 6, 100, 48, 23, 71, 61, 13, 16, 518, 30, 7, 4, 23, 8, 10, 11, 11, 18, 121, 11,
            11, 10, 14, 9, 204, 58, 3, 19, 42, 1013, 2, 328, 15, 31, 14, 138, 45, 55, 23, 38, 10, 401, 52, 6, 3, 6, 5, 32, 35,
            133, 52, 820, 43, 195, 8, 42, 40, 4, 32, 30, 9, 22, 6, 23, 5, 54, 8, 22, 65, 246,
        ),
        beta=(
            12198, 3566, 15993, 35522, 2367, 4609, 3171, 181745, 4372, 4951, 3100, 24665, 13210, 7061, 18061, 17449, 5644, 6787,
            111326, 8776, 3334, 2271, 7389, 2659, 3665, 4724, 3561, 5085, 27407, 4601, 4756, 4120, 4736, 3788, 45292, 14719, 2189,
            5589, 11995, 222255, 2308, 70034, 4801, 8274, 5421, 31912, 12213, 13576, 6230, 10382, 4141, 85731, 12811, 2707, 2250,
            2668, 2886, 9581, 9465, 28336, 12062, 162793, 12107, 41240, 3162, 11604, 10818, 2923, 8897, 8654, 4000, 6580, 3174,
            6766, 2602, 14506, 3968, 7523, 16532, 51964,
        ),
    ),
    "men": Prior(
        alpha=(
            47, 8, 62, 142, 3, 6, 100, 48, 23, 71, 61, 13, 16, 518, 30, 7, 4, 23, 8, 10, 11, 11, 18, 121, 11, 4, 32, 30, 9, 22, 6,
            23, 5, 54,
        ),
        beta=(
            12198, 3566, 15993, 35522, 2367, 3100, 24665, 13210, 7061, 18061, 17449, 5644, 6787, 111326, 8776, 3334, 2271, 7389,
            2659, 3665, 4724, 3561, 5085, 27407, 4601, 2923, 8897, 8654, 4000, 6580, 3174, 6766, 2602, 14506,
        ),
    ),
    "women": Prior(
        alpha=(
            12, 7, 984, 13, 15, 15, 11, 14, 9, 200, 72, 3, 14, 49, 1278, 3, 325, 14, 27, 14, 169, 48, 47, 18, 40, 12, 447, 46, 5,
            3, 5, 7, 35, 34, 99, 30, 880, 51, 182, 6, 45, 39, 10, 24, 72, 229,
        ),
        beta=(
            3612, 3173, 204484, 4517, 4765, 5331, 4131, 4728, 4028, 44280, 17918, 2309, 4339, 12922, 270771, 2480, 68475, 5129,
            7367, 5819, 38026, 13047, 11604, 5394, 10912, 4439, 94485, 10700, 2679, 2319, 2578, 3288, 9566, 9775, 20120, 7317,
            172026, 13673, 37329, 3365, 10911, 10734, 4278, 7574, 16826, 47462,
        ),
    ),
}  # fmt: skip


def campaign(named: str, items: Collection[str]) -> str:
    """The campaign that has exactly a log's items; with fewer of them it has to be `named`. Raises LogError where none can be theirs.

    >>> campaign("", [str(n) for n in range(34)])
    'men'
    """
    own = {name: {str(n) for n in range(len(prior.alpha))} for name, prior in PRIORS.items()}
    has = ", ".join(f"{name} (0 to {len(ids) - 1})" for name, ids in own.items())
    if named and named not in own:
        raise LogError(f"--policy open-bandit-bts:{named}: no such campaign; there are {has}")
    found = next((name for name, ids in own.items() if ids == set(items)), None)
    fits = found == named if found else bool(named) and own[named] >= set(items)
    if found and not named:
        return found
    if fits:
        return named
    log = f"the log and its catalog have {len(set(items)):,} items" + (f", those of {found}" if found else "")
    way = "" if found else "; put item_context.csv beside it" + ("" if named else ", or name its campaign: open-bandit-bts:men")
    raise LogError(f"--policy open-bandit-bts{':' + named if named else ''}: {log}; the campaigns have {has}{way}")


def marginals(name: str) -> Array:
    """Of a campaign [3 positions, its items]: each position sums to 1."""
    prior = PRIORS[name]
    found: Array = quadrature.beta(np.array(prior.alpha, float), np.array(prior.beta, float), len(POSITIONS)).T
    return found
