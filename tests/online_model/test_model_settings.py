"""What the model refuses to run by: every number has its bounds, and an error names the setting."""
from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest

from online_model import model_settings
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import T0, batch

NUMBERS = {f.name: type(f.default) for f in msgspec.structs.fields(ModelSettings) if type(f.default) in (int, float) and f.name != "seed"}
AT_LEAST_SOMETHING = (  # what is divided by, is the size of something, or keeps a root from zero
    "liked_half_life_d", "expire_d", "count_strength", "clip_norm", "embedding_dim", "vector_dim", "attention_units", "shared_experts",
    "expert_units", "tower_units", "dense_batch", "domain_places", "id_capacity", "wide_capacity", "item_admission_events",
)  # fmt: skip


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_below_zero_is_refused_by_name(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be .*, got -1"):
        ModelSettings(**{name: NUMBERS[name](-1)})


@pytest.mark.parametrize("name", [name for name, kind in NUMBERS.items() if kind is float])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_none_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be a finite number, got {value}"):
        ModelSettings(**{name: value})


@pytest.mark.parametrize("name", AT_LEAST_SOMETHING)
def test_zero_is_refused_where_it_would_end_the_first_step(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be (`float` > 0.0|`int` >= 1), got 0$"):
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
        ({"cin_layers": ()}, "cin_layers must be `array` of length >= 1"),
        ({"cin_layers": (32, 0)}, r"cin_layers must be `int` >= 1 - at `\$\[1\]`"),
    ],
)
def test_lists_of_numbers_have_bounds_too(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ModelSettings(**wrong)


def test_a_record_of_before_the_constants_were_constants_is_theirs_where_the_values_are() -> None:
    """Eight of the record's names were settings once: what a checkpoint of then holds is what one of now holds."""
    before = msgspec.msgpack.decode(msgspec.msgpack.encode(model_settings.recorded(ModelSettings())))
    assert set(model_settings.FIXED) < set(before)
    assert before["number_lifts"] == [0.7, 0.8, 0.0, 0.5] and before["square_half_life_d"] == 30.0
    assert model_settings.differences(ModelSettings(), before) == []


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("logit_clip", 12.0, "logit_clip: 12.0 -> 15.0"),
        ("dense_betas", [0.9, 0.999], "dense_betas: (0.9, 0.999) -> (0.9, 0.99)"),
        ("row_start", 1.0, "row_start: 1.0 -> 0.0001"),
        ("row_rate", 0.5, "row_rate: 0.5 -> 0.05"),
    ],
)
def test_a_state_of_another_constant_or_setting_is_refused_by_name(name: str, value: Any, line: str) -> None:
    trainer = Trainer(ModelSettings(embedding_dim=4))
    meta = trainer.meta()
    meta["settings"] = meta["settings"] | {name: value}
    with pytest.raises(ValueError, match=rf"^model settings differ from the saved ones: {re.escape(line)}$"):
        Trainer(ModelSettings(embedding_dim=4)).load(trainer.arrays(), meta)


def test_the_exponent_of_rare_pairs_is_the_one_that_is_set() -> None:
    assert Trainer(ModelSettings()).state.tier_weights.exponent == 0.5
    assert Trainer(ModelSettings(pair_exponent=0.0)).state.tier_weights.exponent == 0.0
