"""What a proof says: figures over seeds with their intervals, each held against its bounds."""
from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats

from bandit.bootstrap import Interval


def interval(figures: Sequence[float]) -> Interval:
    """Mean of independent figures, one a seed, and its 95 % interval (Student's t). Raises ValueError below two figures.

    >>> str(interval([1.0, 2.0, 3.0]))
    '+2.0000 [-0.4841, +4.4841]'
    """
    x = np.asarray(figures, float)
    if len(x) < 2:
        raise ValueError(f"an interval needs two figures at least, got {len(x)}")
    half = float(stats.t.ppf(0.975, len(x) - 1) * stats.sem(x))
    return Interval(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One claim about a figure: its mean over seeds is within [least, most], its interval lies above `above`."""

    claim: str
    values: list[float]  # a seed each
    mean: float
    low: float  # of the 95 % interval of the mean over seeds
    high: float
    least: float | None
    most: float | None
    above: float | None
    passed: bool


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """All claims of a proof; figures that decide nothing have no bounds and pass."""

    name: str
    seeds: list[int]
    lines: list[Line]
    passed: bool


def line(claim: str, values: Sequence[float], least: float | None = None, most: float | None = None, above: float | None = None) -> Line:
    """A claim held against its bounds, see `Line`; without any it is told, and passes."""
    values = [float(v) for v in values]
    mean = sum(values) / len(values)
    low, high = float("-inf"), float("inf")
    if len(values) > 1:
        found = interval(values)
        low, high = found.low, found.high
    passed = (least is None or mean >= least) and (most is None or mean <= most) and (above is None or low > above)
    return Line(claim=claim, values=values, mean=mean, low=low, high=high, least=least, most=most, above=above, passed=passed)


def proof(name: str, seeds: Sequence[int], lines: Sequence[Line]) -> Proof:
    """The claims together: passed where each is."""
    return Proof(name=name, seeds=list(seeds), lines=list(lines), passed=all(each.passed for each in lines))


def table(result: Proof) -> str:
    """For people: a row a claim."""
    out = []
    for each in result.lines:
        held = [(">=", each.least), ("<=", each.most), ("surely >", each.above)]
        bounds = [f"{sign} {bound:.4g}" for sign, bound in held if bound is not None]
        verdict = ("pass" if each.passed else "FAIL") if bounds else "    "
        out.append(f"{verdict}  {each.claim:<64} {each.mean:9.4f}  [{each.low:.4f}, {each.high:.4f}]  {', '.join(bounds)}".rstrip())
    return "\n".join([*out, f"{result.name}: {'pass' if result.passed else 'FAIL'}, seeds {', '.join(map(str, result.seeds))}"])
