"""Whether outcomes come up as often as was said of each."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pytest
from scipy import stats


def draws(few: int, many: int) -> pytest.MarkDecorator:
    """`n` of a claim about frequencies: so few that they take a second, and, by `make prove`, so many as the claim is made for."""
    return pytest.mark.parametrize("n", [few, pytest.param(many, marks=pytest.mark.prove)])


def p_value(seen: Mapping[str, int], chance: Mapping[str, float], at_least: int) -> float:
    """Pearson's chi-squared over all outcomes that are expected five times or more, `at_least` so many, and all others together."""
    n = sum(seen.values())
    often = [outcome for outcome in seen if n * chance[outcome] >= 5]
    assert len(often) >= at_least
    rest = 1 - math.fsum(chance[outcome] for outcome in often)
    counts = [*(seen[outcome] for outcome in often), n - sum(seen[outcome] for outcome in often)]
    return chi_squared(counts, [n * p for p in (*(chance[outcome] for outcome in often), rest)])


def chi_squared(counts: Sequence[float], expected: Sequence[float]) -> float:
    """Its p-value, printed."""
    p = float(stats.chisquare(counts, expected).pvalue)
    print(f"{len(counts)} outcomes of {sum(counts):,.0f} draws: chi-squared p {p:.3f}")
    return p
