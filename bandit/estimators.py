"""What another policy would have earned, from a log of one that is known: estimators of MODEL.md section 8.

w = π(a|x) / p, the policy's probability over the logged propensity; q̂ a model of the reward, q̂_π = Σ_a π(a|x) q̂(x, a).
Each estimate is a sum of ratios of sums over rows, so that a bootstrap can form the ratios anew in every resample.

IPS, SNIPS: Swaminathan and Joachims, NIPS 2015. DR: Dudík et al., ICML 2011. Switch-DR: Wang et al., ICML 2017. DRos: Su et al.,
ICML 2020. Sub-Gaussian: Metelli et al., NeurIPS 2021. Replay: Li et al., WSDM 2011.
Shapes: N rows.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray
Ratios = list[tuple[Array, Array]]  # numerators [N] and denominators [N] of each

MOST_WEIGHT = 1e12  # one such row refuses whatever rests on it, in a log of any size (verdict.py); beyond, squares would overflow


def weights(probability: Array, propensity: Array) -> Array:
    """π over the logged propensity, at most MOST_WEIGHT; NaN where there is no propensity.

    >>> weights(np.array([0.5, 0.5, 0.0]), np.array([0.25, 5e-324, 5e-324])).tolist()
    [2.0, 1000000000000.0, 0.0]
    """
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return np.minimum(probability / propensity, MOST_WEIGHT)


def value(ratios: Ratios) -> float:
    """The estimate itself; NaN where a denominator is 0."""
    out = 0.0
    for numerator, denominator in ratios:
        total = float(denominator.sum())
        out += float(numerator.sum()) / total if total else float("nan")
    return out


def replay(r: Array, agrees: Array) -> Ratios:
    """Mean reward where a deterministic policy did what the log did; the log must have drawn uniformly."""
    return [(r * agrees, agrees.astype(float))]


def ips(w: Array, r: Array) -> Ratios:
    """Inverse propensity scoring: Σ w r / N.

    >>> value(ips(np.array([2.0, 0.0]), np.array([1.0, 1.0])))
    1.0
    """
    return [(w * r, np.ones(len(r)))]


def snips(w: Array, r: Array) -> Ratios:
    """Self-normalised: Σ w r / Σ w."""
    return [(w * r, w)]


def dm(q_policy: Array) -> Ratios:
    """Direct method: the mean of q̂_π."""
    return [(q_policy, np.ones(len(q_policy)))]


def dr(w: Array, r: Array, q: Array, q_policy: Array) -> Ratios:
    """`q` [N]: of the logged action. With changed weights (below) also switch-DR, DRos and sub-Gaussian DR."""
    return [(q_policy + w * (r - q), np.ones(len(r)))]


def sndr(w: Array, r: Array, q: Array, q_policy: Array) -> Ratios:
    """Doubly robust, its correction self-normalised."""
    return [(q_policy, np.ones(len(r))), (w * (r - q), w)]


def switched(w: Array, tau: float) -> Array:
    """Weights of switch-DR: corrected only where w ≤ τ."""
    return np.where(w <= tau, w, 0.0)


def shrunk(w: Array, lam: float) -> Array:
    """Weights of DRos: λw / (w² + λ), 0 at λ = 0."""
    return lam * w / np.maximum(w * w + lam, np.finfo(float).tiny)


def clipped(w: Array, most: float) -> Array:
    """Weights cut at `most`."""
    return np.minimum(w, most)


def sub_gaussian(w: Array, lam: float) -> Array:
    """w / (1 − λ + λw), 0 where w is."""
    return w / np.maximum(1 - lam + lam * w, np.finfo(float).tiny)
