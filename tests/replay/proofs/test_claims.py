"""Claims: figures over seeds held against their bounds."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest
from scipy import stats

from replay.proofs.claims import claim, interval, proof, table

FIGURES = [0.03, 0.01, 0.05, 0.02, 0.04]


def test_the_interval_is_students() -> None:
    found = claim("lift", FIGURES)
    expected = stats.t.interval(0.95, len(FIGURES) - 1, np.mean(FIGURES), stats.sem(FIGURES))
    assert [found.mean, found.low, found.high] == pytest.approx([0.03, *expected], abs=1e-4)
    for n in (2, 5, 31):
        x = np.random.default_rng(n).normal(size=n)
        low, high = stats.t.interval(0.95, n - 1, x.mean(), stats.sem(x))
        students = interval(x.tolist())
        assert (students.value, students.low, students.high) == pytest.approx((x.mean(), low, high))
    with pytest.raises(ValueError, match="two figures"):
        interval([1.0])


@pytest.mark.parametrize(
    ("bounds", "passed"),
    [
        ({}, True),
        ({"least": 0.02}, True),
        ({"least": 0.031}, False),
        ({"most": 0.04, "least": 0.02}, True),
        ({"most": 0.029}, False),
        ({"low_above": 0.01}, True),  # the interval begins at .0104
        ({"low_above": 0.02}, False),
    ],
)
def test_a_claim_holds_within_its_bounds(bounds: dict[str, float], passed: bool) -> None:
    assert claim("lift", FIGURES, **bounds).passed is passed


def test_of_one_seed_nothing_is_sure() -> None:
    assert not claim("lift", [0.5], low_above=0).passed
    assert claim("lift", [0.5], least=0).passed


def test_a_figure_that_is_none_fails() -> None:
    assert not claim("lift", [0.1, float("nan")], least=0).passed


def test_a_proof_passes_where_all_its_claims_do() -> None:
    good, bad = claim("good", FIGURES, least=0), claim("bad", FIGURES, most=0)
    assert proof("both", range(5), [good, good]).passed
    failed = proof("both", range(5), [good, bad])
    assert not failed.passed
    assert [row[:4] for row in table(failed).splitlines()] == ["pass", "FAIL", "both"]


def test_claims_keep_their_names_in_json() -> None:
    document = msgspec.to_builtins(proof("lift", [1, 2], [claim("lift", [0.1, 0.2], low_above=0.0)]))
    assert list(document) == ["name", "seeds", "lines", "passed"]
    assert list(document["lines"][0]) == ["claim", "values", "mean", "low", "high", "least", "most", "above", "passed"]
