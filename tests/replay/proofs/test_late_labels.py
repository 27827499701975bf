"""Late positives as reversals leave the level of predictions right; dropped or repeated they do not."""
from __future__ import annotations

import pytest

from replay.proofs import late_labels
from replay.proofs.claims import table
from replay.proofs.late_labels import Sizes
from replay.proofs.prove import prove


def test_same_seed_same_figures() -> None:
    few = Sizes(events=1_000)
    assert late_labels.figures(3, few) == late_labels.figures(3, few)


@pytest.mark.prove
def test_late_labels_over_ten_seeds() -> None:
    """COPC 1 +- .02 with reversal, about 2 if late positives are dropped, 1 + p/2 if they are repeated."""
    found = prove("late-labels", range(1, 11))
    print(table(found))
    assert found.passed
