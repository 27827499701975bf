"""Embeddings of any size come to one width and to length 1, and what says nothing is none."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.features import EMBEDDING
from online_model.item_embedding import packed


@pytest.mark.parametrize("size", [1, EMBEDDING, 768])
def test_width_and_length_are_those_of_the_towers_whatever_came(size: int) -> None:
    given = np.random.default_rng(size).normal(size=size)
    out = np.frombuffer(packed(given.tolist()), "<f4")
    assert out.shape == (EMBEDDING,) and np.linalg.norm(out) == pytest.approx(1)
    assert packed((7 * given).tolist()) == packed(given.tolist()) == packed((given * 1e-200).tolist())


def test_what_has_no_direction_is_none() -> None:
    assert packed((0.0, 0.0)) == packed(()) == b""
