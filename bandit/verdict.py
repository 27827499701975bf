"""Can this log answer for that policy? Figures of the weights, and the reasons why not, for each estimator by what it rests on.

Bounds of MODEL.md section 8: an effective sample of 100, mean weight within 0.2 of 1, no row with more than 5 % of the weight.
"""
from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np

Array = np.ndarray

LEAST_ESS = 100.0  # below it an interval of a rate says next to nothing
MEAN_SLACK = 0.2  # of Σw/n from 1, which it is on average where propensities are right and nothing is out of reach
MOST_ONE_ROW = 0.05  # of all weight: beyond, one row is the answer
LEAST_COVERAGE = 0.95  # of rows with a propensity: beyond, what is left may be another population
MOST_UNSEEN = 0.01  # of the policy's probability on arms the log never showed: that share of the answer is unknown


class Diagnostics(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights of a log under a policy look like."""

    n: int  # rows, or lists
    mean_weight: float  # Σw/n
    ess: float  # (Σw)² / Σw²
    max_weight: float
    top_share: float  # max w / Σw
    coverage: float  # rows with a propensity / rows
    unseen: float  # of the policy's probability, on arms that the log never showed
    join_rate: float  # acts whose exposure is in the log / acts


def diagnostics(w: Array, coverage: float, unseen: float, join_rate: float) -> Diagnostics:
    """Of weights [N]."""
    total, squares, most = float(w.sum()), float((w * w).sum()), float(w.max(initial=0.0))
    return Diagnostics(
        n=len(w),
        mean_weight=total / len(w) if len(w) else 0.0,
        ess=total * total / squares if squares else 0.0,
        max_weight=most,
        top_share=most / total if total else 0.0,
        coverage=coverage,
        unseen=unseen,
        join_rate=join_rate,
    )


def reasons(log: Diagnostics, used: Diagnostics | None = None) -> Iterator[str]:
    """Why no estimate can rest on the weights; nothing where one can.

    `used`: of the weights as an estimator changes them (none is larger than in `log`). What they leave out is its bias, or q̂'s part, so
    their mean may be low; that of `log` may not. Where all are left out, the estimate is q̂'s alone.
    """
    d = used or log
    if log.n == 0:
        yield "no row has a propensity, and without one no other policy can be evaluated"
        return
    if log.coverage < LEAST_COVERAGE:
        yield f"only {log.coverage:.1%} of rows have a propensity; what is left may be another population"
    yield from unseen(log.unseen)
    if d.top_share > MOST_ONE_ROW and d.n > 1:
        yield f"one row carries {d.top_share:.1%} of all weight (w = {d.max_weight:,.4g}), more than {MOST_ONE_ROW:.0%}"
    if d.ess < LEAST_ESS and (d.max_weight > 0 or log.max_weight == 0):
        yield f"the effective sample is {d.ess:,.1f} of {d.n:,} rows, fewer than {LEAST_ESS:.0f}"
    mean = log.mean_weight if log.mean_weight < 1 - MEAN_SLACK else d.mean_weight
    if mean > 1 + MEAN_SLACK or log.mean_weight < 1 - MEAN_SLACK:
        away = "the policy goes where the log doesn't, or propensities are wrong"
        yield f"the mean weight is {figure(mean)}, further than {MEAN_SLACK} from 1: {away}"


def unseen(share: float) -> Iterator[str]:
    """Why nothing can be estimated, not even by q̂: a share of the policy's probability is on arms that the log never showed."""
    if share > MOST_UNSEEN:
        yield f"{share:.1%} of the policy's probability is on arms that the log never showed"


def figure(weight: float) -> str:
    """A weight with three decimals; a large one with four digits.

    >>> figure(0.75), figure(3.3e297)
    ('0.750', '3.3e+297')
    """
    return f"{weight:,.3f}" if weight < 10_000 else f"{weight:.4g}"
