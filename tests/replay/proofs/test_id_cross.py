"""ID-Cross learns who goes with whom where neither tells anything alone; attention alone does not."""
from __future__ import annotations

import pytest

from replay.proofs import id_cross
from replay.proofs.claims import figures_by_name, proof, table
from replay.proofs.id_cross import Sizes
from replay.proofs.prove import prove


def test_id_cross_learns_a_table_without_main_effects() -> None:
    """The proof below in small: MODEL.md section 2, AUC above .9, attention alone at least .1 lower."""
    seeds = range(1, 3)
    figures = figures_by_name([id_cross.figures(seed, Sizes(events=4_000)) for seed in seeds])
    found = proof("id-cross", seeds, id_cross.claims(figures))
    assert found.passed, table(found)


@pytest.mark.prove
def test_id_cross_learns_a_table_without_main_effects_over_ten_seeds() -> None:
    found = prove("id-cross", range(1, 11))
    print(table(found))
    assert found.passed
