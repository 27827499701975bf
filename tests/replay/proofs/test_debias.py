"""The learned part of popularity is the true conformity; taken away, what is left is what listeners like."""
from __future__ import annotations

import numpy as np
import pytest

from replay.proofs import debias
from replay.proofs.claims import table
from replay.proofs.debias import SLOPES, Sizes, ndcg, world
from replay.proofs.prove import prove

SMALL = Sizes(events=6_000, users=40, items=40)


def test_popularity_moves_within_items_and_draws_plays_where_listeners_conform() -> None:
    log = world(1, Sizes(), SLOPES[-1])
    within = np.mean([log.s[log.item == i].std() for i in range(Sizes().items)])
    assert within > 0.3
    high = log.s > 1
    assert log.played[high].mean() > log.played[~high].mean() + 0.1


def test_ndcg_by_hand() -> None:
    assert ndcg(np.array([[3.0, 1.0, 2.0]]), np.array([[1, 0]])) == pytest.approx((1 + 3 / np.log2(3)) / (3 + 2 / np.log2(3)), abs=1e-12)
    assert ndcg(np.array([[3.0, 1.0, 2.0]]), np.array([[0, 2]])) == 1


def test_nothing_taken_away_is_the_plain_score() -> None:
    found = debias.figures(1, SMALL)
    assert found["1 ndcg plain"] == found["1 ndcg without"]
    assert found["1 spearman plain"] == found["1 spearman without"]
    assert found["0 slope"] < found["0.5 slope"] < found["1 slope"]


@pytest.mark.prove
def test_debias_over_ten_seeds() -> None:
    """MODEL.md section 4, "Proof on a simulator", (a) to (e)."""
    found = prove("debias", range(1, 11))
    print(table(found))
    assert found.passed
