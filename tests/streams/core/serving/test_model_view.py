"""A model view says whether a model may score."""
from __future__ import annotations

import pytest

from streams.core.serving.model_view import ModelView, Predict
from tests.streams.core.serving.test_recommend import by_name


@pytest.mark.parametrize(
    ("predict", "version", "cold"), [(None, None, True), (None, 7, True), (by_name("ab"), 0, True), (by_name("ab"), 7, False)]
)
def test_without_a_model_or_before_it_has_learned_the_view_is_cold(predict: Predict | None, version: int | None, cold: bool) -> None:
    assert ModelView(predict=predict, version=version).cold == cold
