"""The exact probability of each arm to be the best, or the m-th best, of one draw from every arm's distribution.

    P(k stands at place m) = integral of f_k(y) P(m of the other arms draw more than y) dy          (m = 0: the best)

The number of others that draw more is Poisson-binomial; without arm k it is made of those before k and those after k (prefix and
suffix), never divided by k's own part, which is 0/0 where k is sharp. 16 Gauss-Legendre nodes between any two neighbours of the
quantiles of all arms (MODEL.md section 6). Departs: Beta arms are integrated over y = log x/(1-x), where their densities have no
poles, for alpha < 1 neither. Shapes: K arms, G nodes of the grid, M places.
"""
from __future__ import annotations

import numpy as np
import scipy  # loads scipy.special, .6 s, where something is first asked of it

Array = np.ndarray

TOLERANCE = 1e-9  # of a sum of probabilities, before it is made 1
_TAILS = np.array([1e-14, 1e-6, 1e-3, 0.05, 0.3])  # each from both sides; beyond the first there is nothing to be seen
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_SMALLEST = 1e-300  # quantiles of Beta arms


def beta(a: Array, b: Array, places: int = 1) -> Array:
    """Of Beta(a, b) arms [K], each at least settings.LEAST_SHAPE -> probabilities [K, places]; a place's sum to 1."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    low = np.maximum(scipy.special.betaincinv(a[:, None], b[:, None], _TAILS), _SMALLEST)
    high = np.maximum(scipy.special.betaincinv(b[:, None], a[:, None], _TAILS), _SMALLEST)  # of 1 - x
    y, weights = _grid(np.concatenate([np.log(low) - np.log1p(-low), np.log1p(-high) - np.log(high)], None))
    x, rest = scipy.special.expit(y), scipy.special.expit(-y)
    arm, node = np.nonzero((x > low[:, :1]) & (rest > high[:, :1]))  # where an arm can be at all
    density, cdf = np.zeros((len(a), len(y))), (x > low[:, :1]).astype(float)
    density[arm, node] = _beta_density(a[arm], b[arm], x[node], rest[node])
    cdf[arm, node] = _beta_cdf(a[arm], b[arm], x[node], rest[node])
    return _places(density * weights, cdf, places)


def gaussian(mean: Array, sd: Array, places: int = 1) -> Array:
    """Of Gaussian arms [K], sd > 0 -> probabilities [K, places]; a place's sum to 1."""
    mean, sd = np.asarray(mean, float), np.asarray(sd, float)
    if not (sd > 0).all():
        raise ValueError("every arm needs a standard deviation above 0")
    z = scipy.special.ndtri(_TAILS)
    y, weights = _grid(mean[:, None] + sd[:, None] * np.concatenate([z, -z]))
    at = (y - mean[:, None]) / sd[:, None]
    density = np.exp(-0.5 * at * at) / (sd[:, None] * np.sqrt(2 * np.pi))
    return _places(density * weights, scipy.special.ndtr(at), places)


def with_exploration(probabilities: Array, explore: float) -> Array:
    """Probabilities [K, ...] of a policy that draws uniformly in a share `explore` of the rounds.

    >>> with_exploration(np.array([1.0, 0.0]), 0.02).tolist()
    [0.99, 0.01]
    """
    return (1.0 - explore) * probabilities + explore / len(probabilities)


def _grid(edges: Array) -> tuple[Array, Array]:
    """Nodes [G] and weights [G] between any two neighbours of the edges."""
    edges = np.unique(edges)
    half, middle = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
    return (middle[:, None] + half[:, None] * _NODES).ravel(), (half[:, None] * _WEIGHTS).ravel()


def _beta_density(a: Array, b: Array, x: Array, rest: Array) -> Array:
    """x^a rest^b / B(a, b) for rest = 1 - x: the density over y. About the mean, since a log x alone is too large for sharp arms."""
    mean, other = a / (a + b), b / (a + b)
    off = np.where(x < 0.5, x - mean, other - rest)
    spread = 0.5 * np.log(2 * np.pi * (a + b) / a / b)
    return np.exp(a * _log(x, mean, off) + b * _log(rest, other, -off) - spread - _stirling(a) - _stirling(b) + _stirling(a + b))


def _beta_cdf(a: Array, b: Array, x: Array, rest: Array) -> Array:
    """The distribution function at x = 1 - rest, from the end that x is near to."""
    near = x < 0.5
    part = scipy.special.betainc(np.where(near, a, b), np.where(near, b, a), np.where(near, x, rest))
    return np.where(near, part, 1.0 - part)


def _log(x: Array, mean: Array, off: Array) -> Array:
    """log(x / mean), where off = x - mean."""
    near = np.abs(off) < mean / 2
    return np.where(near, np.log1p(np.where(near, off, 0.0) / mean), np.log(x / mean))


def _stirling(z: Array) -> Array:
    """log Gamma(z) less Stirling's formula (Abramowitz & Stegun 6.1.40)."""
    exact = scipy.special.gammaln(z) - (z - 0.5) * np.log(z) + z - 0.5 * np.log(2 * np.pi)
    return np.where(z < 100, exact, 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5))


def _places(mass: Array, cdf: Array, places: int) -> Array:
    """Weighed densities [K, G] and distribution functions [K, G] -> probabilities [K, places]."""
    arms = len(mass)
    if not 1 <= places <= arms:
        raise ValueError(f"1 <= places ({places}) <= arms ({arms}) must hold")
    before, after = _counts(cdf, places), _counts(cdf[::-1], places)[::-1]
    probabilities = np.stack([sum(before[:, m] * after[:, place - m] for m in range(place + 1)) for place in range(places)], 1)
    probabilities = np.einsum("kg,kmg->km", mass, probabilities)
    total = probabilities.sum(0)
    if not (np.abs(total - 1.0) < TOLERANCE).all():
        raise ArithmeticError(f"probabilities of {arms} arms add up to {total.tolist()}")
    return probabilities / total


def _counts(cdf: Array, places: int) -> Array:
    """[K, places, G]: the probability that m of the arms before arm k draw more than a node."""
    out = np.zeros((len(cdf), places, cdf.shape[1]))
    out[0, 0] = 1.0
    for k in range(1, len(cdf)):
        out[k] = out[k - 1] * cdf[k - 1]
        out[k, 1:] += out[k - 1, :-1] * (1.0 - cdf[k - 1])
    return out
