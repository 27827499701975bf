"""Each measure of speed off predicts and learns the same."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import learning
from benchmarks.learning import Step, ours, with_other
from benchmarks.slower import EveryOccurrence, Unflattened
from online_model import behaviour_attention
from online_model.batch import of_records
from online_model.cin import CIN
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer


def test_keys_looked_up_wherever_they_occur_give_the_same_bytes(log: list[Step]) -> None:
    real, slow = Trainer(ModelSettings()), EveryOccurrence(ModelSettings())
    for step in log[:8]:
        a, b = (t.step(of_records(step.records, step.compared), step.now_ms) for t in (real, slow))
        np.testing.assert_array_equal(a.logits, b.logits)
    assert real.digest() == slow.digest()


@pytest.mark.parametrize("name", ["halves apart", "empty places", "products unfolded"])
def test_a_measure_off_costs_time_and_changes_nothing(name: str, log: list[Step]) -> None:
    """Within rounding of sums in another order, and with what the measure is about in the log."""
    called: list[bool] = []

    def counted(other: Callable[..., Any], spared: Callable[..., bool]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            called.append(spared(*given))
            return other(*given)

        return call

    def shares(*given: Any) -> bool:
        return of_records(*given).owner is not None

    slow = {
        "halves apart": lambda: ours(batch=counted(learning.own_halves, shares)),
        "empty places": lambda: with_other(behaviour_attention, "_sparse", counted(learning.everywhere, behaviour_attention._sparse)),
        "products unfolded": lambda: with_other(CIN, "forward", counted(learning.unfolded, lambda *_: True)),
    }[name]()
    real = ours()
    for step in log[:10]:
        np.testing.assert_allclose(slow.learn(step), real.learn(step), atol=2e-4)
    assert any(called)


def test_torchs_own_adam_moves_the_parameters_alike(log: list[Step]) -> None:
    real, plain = Trainer(ModelSettings(dense_batch=64)), Unflattened(ModelSettings(dense_batch=64))
    first = weights(real)
    for step in log[:12]:
        for trainer in (real, plain):
            trainer.step(of_records(step.records, step.compared), step.now_ms)
    assert (weights(real) - first).abs().max() > 3e-3
    torch.testing.assert_close(weights(plain), weights(real), atol=2e-4, rtol=0)


def weights(trainer: Trainer) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in trainer.state.ranker.parameters()])
