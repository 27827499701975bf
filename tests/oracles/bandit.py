"""Of Thompson sampling, the slow way: closed forms, adaptive integrals, loops."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import exp

import numpy as np
from scipy import integrate, stats
from scipy.special import betaln

# Production priors of Open Bandit's men, MODEL.md section 8.
MEN_ALPHA = [
    47,
    8,
    62,
    142,
    3,
    6,
    100,
    48,
    23,
    71,
    61,
    13,
    16,
    518,
    30,
    7,
    4,
    23,
    8,
    10,
    11,
    11,
    18,
    121,
    11,
    4,
    32,
    30,
    9,
    22,
    6,
    23,
    5,
    54,
]
MEN_BETA = [
    12198,
    3566,
    15993,
    35522,
    2367,
    3100,
    24665,
    13210,
    7061,
    18061,
    17449,
    5644,
    6787,
    111326,
    8776,
    3334,
    2271,
    7389,
    2659,
    3665,
    4724,
    3561,
    5085,
    27407,
    4601,
    2923,
    8897,
    8654,
    4000,
    6580,
    3174,
    6766,
    2602,
    14506,
]


def beats(a1: int, b1: int, a2: int, b2: int) -> float:
    """P(Beta(a1, b1) > Beta(a2, b2)) for whole a1: the finite sum of Evan Miller's "Formulas for Bayesian A/B testing"."""
    return sum(exp(betaln(a2 + i, b1 + b2) - np.log(b1 + i) - betaln(1 + i, b1) - betaln(a2, b2)) for i in range(a1))


def places(arms: Sequence[stats.rv_continuous], support: tuple[float, float], first: int | None = None) -> list[list[float]]:
    """[K][K] chance of an arm by place, or by the first places: a sum over who is larger, integrated adaptively."""
    out = []
    for k, arm in enumerate(arms):
        others = [other for j, other in enumerate(arms) if j != k]
        row = []
        for place in range(first or len(arms)):

            def density(x: float, arm=arm, others=others, place=place) -> float:  # type: ignore[no-untyped-def]
                total = 0.0
                for larger in combinations(range(len(others)), place):
                    term = arm.pdf(x)
                    for j, other in enumerate(others):
                        term *= other.sf(x) if j in larger else other.cdf(x)
                    total += term
                return total

            row.append(integrate.quad(density, *support, epsabs=1e-11, limit=200)[0])
        out.append(row)
    return out


def discounted(rounds: Sequence[tuple[int, float]], arms: int, gamma: float) -> tuple[list[float], list[float]]:
    """Algorithm 1 of Raj & Kalyani: all arms fade every round, the one that was played gets its reward."""
    won, lost = [0.0] * arms, [0.0] * arms
    for arm, reward in rounds:
        for k in range(arms):
            won[k], lost[k] = gamma * won[k], gamma * lost[k]
        won[arm] += reward
        lost[arm] += 1 - reward
    return won, lost
