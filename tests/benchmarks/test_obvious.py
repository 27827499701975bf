"""The obvious version is told the same and is the same network: else its speed would say nothing."""
from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from benchmarks import obvious
from benchmarks.learning import Step, steps, vocabulary
from online_model import numeric
from online_model.base_rates import BaseRates
from online_model.batch import Batch, of_records
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import apart


@pytest.fixture(scope="module")
def log() -> list[Step]:
    """Steps of the simulator's log; the last one has whole histories, reversals, and lists to compare."""
    return steps(3_000, 64)


def test_rows_built_one_by_one_are_the_batch(log: list[Step]) -> None:
    assert log[-1].compared
    assert any(len(step.records) > (of_records(step.records).is_example).sum() for step in log)
    for step in (log[0], log[-1]):
        wanted, found = of_records(step.records, step.compared), obvious.batch(step.records, step.compared)
        wanted = apart(wanted)
        for f in fields(Batch):
            if f.name == "owner":
                continue
            np.testing.assert_array_equal(getattr(found, f.name), getattr(wanted, f.name), err_msg=f.name)
            assert getattr(found, f.name).dtype == getattr(wanted, f.name).dtype, f.name


def test_numbers_of_rows_are_those_of_the_batch(log: list[Step]) -> None:
    base = BaseRates().rates()
    wanted = numeric.numbers(of_records(log[-1].records), base, 10.0)
    found = [obvious.numbers(obvious.row(r.features), base.tolist(), 10.0) for r in log[-1].records]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_with_the_same_weights_and_rows_both_paths_give_the_logits_of_the_trainer(log: list[Step]) -> None:
    step, settings = log[-1], ModelSettings()
    trainer = Trainer(settings)
    trainer.state.domains.learn(of_records(step.records).fields[:, 5])
    net = obvious.Obvious(settings, *vocabulary(log), 1e-3)
    net.ranker.load_state_dict(trainer.state.ranker.state_dict())
    net.places = {key: n for n, key in enumerate(trainer.state.domains.keys[: trainer.state.domains.n].tolist())}
    assert len(net.places) >= 2
    rows = [obvious.row(r.features) for r in step.records]
    net.paths(rows)  # numbers the ids
    with torch.no_grad():
        for key, at in net.known.items():
            user, place = key if isinstance(key, tuple) else (0, 0)
            full = np.array([key if user == 0 else trainer.state.domains.own_rows(np.array([user], np.uint64))[0, place]], np.uint64)
            net.ids.weight[at] = trainer.state.ids.read(full, np.zeros(1, np.int64))[0]
        net.cross.weight.zero_()  # a trainer has no rows there yet
        net.feed.weight.zero_()
        linear, deep, rank, user = net.paths(rows)
    assert user is not None
    wanted = trainer.predict(of_records(step.records))
    share = torch.tensor(trainer.state.blend.share, dtype=torch.float32)
    z = (linear - user) * (1 - share) + deep * share + user + torch.tensor(trainer.state.base.logits(), dtype=torch.float32)
    np.testing.assert_allclose(z, wanted.logits, atol=1e-5)
    np.testing.assert_allclose(rank, wanted.rank, atol=1e-5)
    assert deep.std(0).min() > 1e-3
