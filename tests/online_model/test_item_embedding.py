"""Embeddings of any size come to one size, and keep their angles nearly."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.features import EMBEDDING
from online_model.item_embedding import packed


@pytest.mark.parametrize(("size", "within"), [(3, 1e-6), (EMBEDDING, 1e-6), (768, 0.5)])
def test_cosines_are_kept(size: int, within: float) -> None:
    rng = np.random.default_rng(size)
    given = rng.normal(size=(40, size)) + 2 * rng.normal(size=size)  # some of it in common, as embeddings have
    out = np.array([np.frombuffer(packed(row.tolist()), "<f4") for row in given])
    assert out.shape == (40, EMBEDDING)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1, rtol=1e-5)
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    assert np.abs(out @ out.T - unit @ unit.T).max() < within
    assert packed(given[0].tolist()) == packed((7 * given[0]).tolist())
