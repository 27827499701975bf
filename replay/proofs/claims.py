"""What a proof says: figures over seeds with their intervals, each held against its bounds."""
from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import stats

from bandit.bootstrap import Interval

Figures = dict[str, np.ndarray]  # name -> float64 [seeds]


def figures_by_name(by_seed: Sequence[dict[str, float]]) -> Figures:
    """The figures of all worlds as columns; 0 where a world has none of a name.

    >>> {name: column.tolist() for name, column in figures_by_name([{"a": 1.0}, {"a": 2.0, "b": 3.0}]).items()}
    {'a': [1.0, 2.0], 'b': [0.0, 3.0]}
    """
    names = dict.fromkeys(name for figures in by_seed for name in figures)
    return {name: np.array([figures.get(name, 0.0) for figures in by_seed]) for name in names}


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


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A figure, its mean over seeds and what is claimed of it: the mean within [least, most], the whole interval above `low_above`."""

    claim: str
    values: list[float]  # a seed each
    mean: float
    low: float  # of the 95 % interval of the mean over seeds
    high: float
    least: float | None
    most: float | None
    low_above: float | None = msgspec.field(name="above")
    passed: bool

    def bounds(self) -> list[tuple[str, float]]:
        """Each bound with its sign; none where the figure decides nothing."""
        bounds = [(">=", self.least), ("<=", self.most), ("surely >", self.low_above)]
        return [(sign, bound) for sign, bound in bounds if bound is not None]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """All claims of a proof; figures that decide nothing have no bounds and pass."""

    name: str
    seeds: list[int]
    claims: list[Claim] = msgspec.field(name="lines")
    passed: bool


def claim(
    text: str, figures: Sequence[float] | np.ndarray, least: float | None = None, most: float | None = None, low_above: float | None = None
) -> Claim:
    """A claim held against its bounds, see `Claim`; without any it only shows the figure, and passes.

    >>> claim("lift", [0.03, 0.05], least=0.03).passed, claim("lift", [0.03, 0.05], low_above=0.0).passed
    (True, False)
    """
    values = [float(v) for v in figures]
    mean = sum(values) / len(values)
    found = interval(values) if len(values) > 1 else Interval(mean, float("-inf"), float("inf"))
    passed = (least is None or mean >= least) and (most is None or mean <= most) and (low_above is None or found.low > low_above)
    return Claim(
        claim=text, values=values, mean=mean, low=found.low, high=found.high, least=least, most=most, low_above=low_above, passed=passed
    )


def proof(name: str, seeds: Sequence[int], claims: Sequence[Claim]) -> Proof:
    """The claims together: passed where each is."""
    return Proof(name=name, seeds=list(seeds), claims=list(claims), passed=all(each.passed for each in claims))


def table(result: Proof) -> str:
    """For people: a row a claim."""
    out = []
    for each in result.claims:
        bounds = ", ".join(f"{sign} {bound:.4g}" for sign, bound in each.bounds())
        verdict = ("pass" if each.passed else "FAIL") if bounds else "    "
        out.append(f"{verdict}  {each.claim:<64} {each.mean:9.4f}  [{each.low:.4f}, {each.high:.4f}]  {bounds}".rstrip())
    return "\n".join([*out, f"{result.name}: {'pass' if result.passed else 'FAIL'}, seeds {', '.join(map(str, result.seeds))}"])
