"""Vectors find what co-listening does not, where little was played."""
from __future__ import annotations

import numpy as np
import pytest

from replay.proofs.claims import table
from replay.proofs.prove import prove
from replay.proofs.vectors import GROUPS, Sizes, claims


def test_vectors_that_find_no_more_do_not_pass_where_little_was_played() -> None:
    names = [f"{world}, {group}" for world in Sizes().worlds() for group in GROUPS]
    more = {
        f"{name}: {source}": np.array([value, value]) for name in names for source, value in (("vectors", 0.25), ("co-listening", 0.125))
    }
    assert all(each.passed for each in claims(more))
    failed = [each for each in claims(more | {f"{name}: vectors": np.array([0.125, 0.125]) for name in names}) if not each.passed]
    assert len(failed) == 4 and {each.claim for each in failed} == {"… more by vectors"}


@pytest.mark.prove
def test_vectors_over_five_seeds() -> None:
    """Recall at 100 of vectors alone is surely above that of co-listening alone for listeners and items with few plays, in both worlds."""
    found = prove("vectors", range(1, 6))
    print(table(found))
    assert found.passed
