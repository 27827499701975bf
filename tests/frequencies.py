"""Whether outcomes come up as often as was said of each."""
from __future__ import annotations

import math
from collections.abc import Mapping

from scipy import stats


def p_value(seen: Mapping[str, int], chance: Mapping[str, float], at_least: int) -> float:
    """Pearson's chi-squared over all outcomes that are expected five times or more, `at_least` so many, and all others together."""
    n = sum(seen.values())
    often = [outcome for outcome in seen if n * chance[outcome] >= 5]
    assert len(often) >= at_least
    rest = 1 - math.fsum(chance[outcome] for outcome in often)
    counts = [*(seen[outcome] for outcome in often), n - sum(seen[outcome] for outcome in often)]
    return float(stats.chisquare(counts, [n * p for p in (*(chance[outcome] for outcome in often), rest)]).pvalue)
