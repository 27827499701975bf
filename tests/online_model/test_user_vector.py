"""What the ranker knows of a user: by loops over its shared experts; it changes nothing, and nothing is said where nothing is ranked."""
from __future__ import annotations

import numpy as np
import pytest
import torch

from online_model import forward
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from online_model.user_vector import WIDTH, user_vector
from tests.online_model.test_trainer import batch, trained
from tests.oracles.cgc import expert


@pytest.mark.parametrize("units", [8, 64])
def test_it_is_the_direction_of_what_the_shared_experts_say(units: int) -> None:
    made, asked = Trainer(ModelSettings(expert_units=units)), batch(3, 5)
    made.step(batch(20, 1), 0)
    before, got = made.digest(), user_vector(made.state, asked)
    assert made.digest() == before
    with torch.inference_mode():
        entering = forward.forward(made.state, asked, 3, learns=False).scores.entering.tolist()
    block, signs = made.state.ranker.tasks, np.random.default_rng(0).integers(0, 2, (units, WIDTH)) * 2.0 - 1.0
    for row, vector in zip(entering, got, strict=True):
        said = []
        for s in range(block.tasks, block.tasks + block.shared):
            mine = slice(s * units, (s + 1) * units)
            weights, bias = block.experts[:, mine].tolist(), block.experts_bias[mine].tolist()
            said.append(expert(row, weights, bias, block.scale[s].tolist(), block.shift[s].tolist()))
        mean = np.mean(said, 0)
        wanted = np.append(mean, [0.0] * (WIDTH - units)) if units < WIDTH else mean @ signs
        assert vector == pytest.approx(wanted / np.linalg.norm(wanted), abs=2e-5)


def test_users_differ_and_one_is_the_same_whoever_else_is_asked_of() -> None:
    made, asked = trained(20), batch(6, 8)
    every = user_vector(made.state, asked)
    assert np.linalg.norm(every, axis=1) == pytest.approx(np.ones(6))
    assert (np.linalg.norm(every[:, None] - every[None], axis=2) + np.eye(6) > 1e-3).all()


def test_without_a_ranker_nothing_is_known() -> None:
    light = Trainer(ModelSettings(deep=False, causal=False, pairs=0.0))
    assert user_vector(light.state, batch(2, 1)).shape == (2, 0)
