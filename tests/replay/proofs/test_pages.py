"""The talk's claim of its last layer: pages whose strategies are chosen by what they earned, against the fixed page."""
from __future__ import annotations

import pytest

from replay.proofs.claims import Proof, figures_by_name, proof, table
from replay.proofs.pages import Sizes, claims, figures, run
from replay.proofs.prove import prove


def held(by_seed: list[dict[str, float]]) -> Proof:
    return proof("pages", [1, 2], claims(figures_by_name(by_seed)))


def test_both_pages_are_looked_at_alike_and_listeners_are_shown_less_of_the_same() -> None:
    """One seed of the proof below, a small part as long."""
    one = run(1, Sizes(sessions=40, listeners=20, hindsight=20))
    found = figures(one)
    assert found["looked fixed"] == pytest.approx(found["looked chosen"], rel=0.05)  # the same luck stops them
    assert one.floor == one.fixed.revenue and one.fixed.pages == one.chosen.pages == 40
    assert found["overlap chosen"] < found["overlap fixed"]
    assert sum(f.pages for f in one.by_strategy.values()) == 40
    assert set(one.worth) >= {"blend-0", "tail", "explore", "fixed"}
    assert max(one.worth.values()) == one.worth[one.best] >= one.policy_worth >= min(one.worth.values())
    good = dict.fromkeys(found, 1.0) | {"categories chosen": 1.2, "distinct chosen": 1.2, "overlap chosen": 0.9}
    seeds = [good, good]  # with one seed an interval is unbounded, and no claim of one can pass
    assert table(held(seeds)).endswith("pages: pass, seeds 1, 2")
    for name, value in (("categories chosen", 1.05), ("overlap chosen", 1.0), ("dislikes chosen", 1.1), ("revenue chosen", 0.97)):
        assert table(held([each | {name: value} for each in seeds])).endswith("pages: FAIL, seeds 1, 2"), name


@pytest.mark.prove
def test_pages_over_ten_seeds() -> None:
    """The acceptance line, whole."""
    found = prove("pages", range(1, 11))
    print(table(found))
    assert [claim.claim for claim in found.claims if not claim.passed] == []
