"""Which parameter an estimator takes: SLOPE (Su, Srinath and Krishnamurthy, ICML 2020; arXiv 2002.07729, algorithm 1).

Candidates go from low bias to low variance; the last one is taken whose interval still meets all earlier ones: from there on
bias shows. Departs: intervals of 95 %, not twice a bound that holds for all candidates at once, which with few rewards nothing leaves;
half-widths are made to fall along the way, as the algorithm takes for granted.
"""
from __future__ import annotations

from collections.abc import Sequence

# From low bias to low variance. The weights of men's items (Open Bandit) reach 178, those of a floor of 0.02 over 12 arms 600.
TAUS = (float("inf"), 1000.0, 300.0, 100.0, 30.0, 10.0, 5.0, 3.0, 1.0)  # of switch-DR; at 0 it is DM
MOSTS = (float("inf"), 1000.0, 300.0, 100.0, 30.0, 10.0, 5.0, 3.0, 1.0)  # of clipping
LAMBDAS = (1e6, 1e5, 1e4, 1e3, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.1)  # of DRos; at 0 it is DM
BENDS = (0.0, 1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)  # of sub-Gaussian weights


def slope(values: Sequence[float], half_widths: Sequence[float]) -> int:
    """Place of the chosen candidate."""
    low, high, narrow = float("-inf"), float("inf"), float("inf")
    chosen = 0
    for at, (value, width) in enumerate(zip(values, half_widths, strict=True)):
        narrow = min(narrow, width)
        low, high = max(low, value - narrow), min(high, value + narrow)
        if low > high:  # on a line, intervals that meet in pairs meet in a point
            break
        chosen = at
    return chosen
