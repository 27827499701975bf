"""What the model refuses to run by: every number has its bounds, and an error names the setting."""
from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import T0, batch

NUMBERS = {field.name: field.type for field in msgspec.structs.fields(ModelSettings) if field.type in (int, float) and field.name != "seed"}
AT_LEAST_SOMETHING = (  # what is divided by, is the size of something, or keeps a root from zero
    "liked_half_life_d", "square_half_life_d", "expire_d", "count_strength", "clip_norm", "logit_clip", "row_start", "wide_start",
    "number_start", "effect_start", "embedding_dim", "attention_units", "shared_experts", "expert_units", "tower_units", "dense_batch",
    "domain_places", "id_capacity", "wide_capacity", "item_admission_events",
)  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_below_zero_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got -1"):
        ModelSettings(**{name: NUMBERS[name](-1)})


@pytest.mark.parametrize("name", [name for name, kind in NUMBERS.items() if kind is float])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be .* finite, got {value}"):
        ModelSettings(**{name: value})


@pytest.mark.parametrize("name", AT_LEAST_SOMETHING)
def test_zero_is_refused_where_it_would_end_the_first_step(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be (above 0|at least 1)"):
        ModelSettings(**{name: 0})


@pytest.mark.parametrize("name", [name for name in NUMBERS if name not in AT_LEAST_SOMETHING])
def test_zero_is_taken_where_it_switches_something_off(name: str) -> None:
    """And is learned with."""
    trainer = Trainer(ModelSettings(**{name: 0}))
    for at in range(3):
        report = trainer.step(batch(8, at), T0)
        assert report.skipped is None and np.isfinite(report.loss)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cin_layers": ()}, "cin_layers must name one or more widths"),
        ({"cin_layers": (32, 0)}, "cin_layers must name one or more widths"),
        ({"dense_betas": (0.9, 1.0)}, r"dense_betas must be in \[0, 1\)"),
        ({"number_lifts": (0.7, float("nan"), 0.0, 0.0)}, "number_lifts must be finite"),
    ],
)
def test_lists_of_numbers_have_bounds_too(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ModelSettings(**wrong)


def test_the_exponent_of_rare_pairs_is_the_one_that_is_set() -> None:
    assert Trainer(ModelSettings()).state.tier_weights.exponent == 0.5
    assert Trainer(ModelSettings(pair_exponent=0.0)).state.tier_weights.exponent == 0.0
