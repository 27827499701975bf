"""The first dislikes and collects of a listener speak of their artists, and a rare taste is found within 40 exposures."""
from __future__ import annotations

import numpy as np
import pytest

from replay.proofs.claims import table
from replay.proofs.first_feedback import claims
from replay.proofs.prove import prove


def test_a_dislike_that_lowers_others_more_than_its_artist_does_not_pass() -> None:
    moves = {"dislike artist": -0.5, "dislike others": -0.25, "collect artist": 0.5, "collect others": 0.25}
    found = {f"{who} {name}": value for who in ("stranger", "known") for name, value in moves.items()}
    found |= {"ten disliked": -0.5, "ten untouched": 0.0, "ten collected": 0.5, "fan top after": 0.75, "fan AUC after": 0.75}
    columns = {name: np.array([value, value]) for name, value in found.items()}
    assert all(each.passed for each in claims(columns))
    turned = columns | {"stranger dislike others": np.array([-0.75, -0.75]), "ten untouched": np.array([-0.75, -0.75])}
    assert [each.claim for each in claims(turned) if not each.passed] == [
        "stranger, a dislike: further fall of the artist's songs than of the category's",
        "five of each: fall of disliked artists' songs below untouched ones'",
    ]


@pytest.mark.prove
def test_first_feedback_over_ten_seeds() -> None:
    """A dislike lowers its artist's songs more than others of the category, a collect raises them; a rare taste is in the top 20."""
    found = prove("first-feedback", range(1, 11))
    print(table(found))
    assert found.passed
