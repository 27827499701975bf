"""Directions stay nearly as they were; what fits is not touched but for its length."""
from __future__ import annotations

import numpy as np
import pytest

from online_model.projection import of_width


@pytest.mark.parametrize(("size", "within"), [(3, 1e-12), (32, 1e-12), (768, 0.5)])
def test_cosines_are_kept(size: int, within: float) -> None:
    rng = np.random.default_rng(size)
    given = rng.normal(size=(40, size)) + 2 * rng.normal(size=size)  # some of it in common, as embeddings have
    out = of_width(given, 32)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), 1)
    unit = given / np.linalg.norm(given, axis=1, keepdims=True)
    off = np.abs(out @ out.T - unit @ unit.T)
    assert off.max() < within and off.mean() < min(within, 32**-0.5)  # a standard deviation of the mean of 32 signs
    np.testing.assert_allclose(of_width(given[:5], 32), out[:5], rtol=1e-9)
