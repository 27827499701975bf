"""What the attention is said to have looked at is what a prediction sums by."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from online_model.attended import attended
from online_model.features import FIELDS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import SHARED, batch, trained


def rows(trainer: Trainer, keys: np.ndarray) -> Tensor:
    """Key by key, as the table has it."""
    return torch.stack([trainer.state.ids.read(np.array([key]), trainer.state.ids.rows.find(np.array([key])))[0] for key in keys])


def test_weights_are_those_that_a_prediction_sums_the_behaviours_by() -> None:
    made, asked = trained(20), batch(5, 3, length=4)
    got = attended(made.state, asked)
    assert got.history.shape == (5, 2, 5) and got.related is not None and got.related.shape == (5, 5)
    block = made.state.ranker.attention
    query = rows(made, asked.fields[:, FIELDS.index("item")])
    with torch.no_grad():
        keys = torch.stack([torch.stack([rows(made, asked.history[b, f]) for b in range(5)]) for f in range(2)])
        there = torch.from_numpy(asked.history != 0).transpose(0, 1)
        action = torch.from_numpy(asked.action.astype(np.int64)).transpose(0, 1)
        summed = block(query, keys, action, torch.from_numpy(asked.age_s).transpose(0, 1), there)
        for b in range(5):
            for f in range(2):
                w = got.history[b, f]
                by_hand = w[0] * block.null_value[f] + sum(float(w[1 + at]) * keys[f, b, at] for at in range(4))
                torch.testing.assert_close(summed[b].view(2, -1)[f], by_hand, rtol=0, atol=1e-6)


def test_weights_of_a_row_are_1_and_none_goes_to_what_is_not_there() -> None:
    made, asked = trained(20), batch(40, 5, length=4)
    got = attended(made.state, asked)
    assert got.related is not None
    for weights, items in ((got.history, asked.history), (got.related, asked.related)):
        assert weights.sum(-1) == pytest.approx(np.ones(weights.shape[:-1]), abs=1e-6)
        assert (weights[..., 1:][items == 0] == 0).all() and (weights[..., 1:][items != 0] > 0).all()
        assert (weights[..., 0] > 0).all()


def test_one_history_for_all_is_the_same_as_each_its_own_and_asking_changes_nothing() -> None:
    made, own = trained(20), batch(6, 8, length=4)
    for name in SHARED:
        getattr(own, name)[:] = getattr(own, name)[:1]
    shared = replace(own, **{name: getattr(own, name)[:1] for name in SHARED})
    before = made.digest()
    np.testing.assert_allclose(attended(made.state, shared).history, attended(made.state, own).history, rtol=0, atol=1e-6)
    assert made.digest() == before


def test_without_the_second_attention_there_is_nothing_of_it() -> None:
    assert attended(trained(2, ModelSettings(related=False)).state, batch(2, 1)).related is None
