"""The guard: what isn't finite is not learned from, and a state that can't be learned with is left for the last good one."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch

from online_model.last_good import AFTER, LastGood
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import T0, batch

SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4)
EVERY = 3
Dense = dict[str, np.ndarray]


def trained(steps: int) -> tuple[Trainer, list[Dense]]:
    """A trainer after so many steps, and its dense part before the first and after each."""
    made = Trainer(SMALL)
    made.state.last_good.every = EVERY
    told = [dense(made)]
    for at in range(steps):
        made.step(batch(4, at), T0 + at * 1000)
        told.append(dense(made))
    return made, told


def dense(made: Trainer) -> Dense:
    """The part that is put back, by its names in a checkpoint."""
    arrays = made.arrays()
    return {name.removeprefix("good."): arrays[name.removeprefix("good.")] for name in arrays if name.startswith("good.")}


def same(ours: Dense, theirs: Dense) -> bool:
    return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(("steps", "back_to"), [(2, 0), (3, 3), (5, 3), (6, 6)])
def test_a_broken_dense_part_is_put_back_as_it_was_at_the_last_third_step(steps: int, back_to: int) -> None:
    made, told = trained(steps)
    assert not same(told[-1], told[0])
    made.state.ranker.tasks.out_bias.data[0] = torch.nan
    reports = [made.step(batch(4, 90 + n), T0 + 50_000 + n) for n in range(AFTER)]
    assert [(r.skipped, r.rolled_back) for r in reports] == [("non-finite gradient", n == AFTER - 1) for n in range(AFTER)]
    assert same(dense(made), told[back_to])
    after = made.step(batch(4, 99), T0 + 60_000)
    assert after.skipped is None and np.isfinite(after.logits).all()
    assert (made.state.skipped, made.state.last_good.rollbacks) == (AFTER, 1)


def test_rows_that_are_not_finite_go_and_the_others_stay_and_a_serving_copy_follows() -> None:
    made, _ = trained(7)
    copy = Trainer(SMALL)
    copy.load(made.arrays(), made.meta())
    keys = made.state.ids.rows.keys[made.state.ids.rows.keys != 0]
    user = keys[(keys >= 1000) & (keys < 1020)][:1]
    at = made.state.ids.rows.find(user)
    made.state.ids.weights[at, 1] = torch.inf
    copy.state.ids.weights[at, 1] = torch.inf
    asked = batch(4, 95)
    asked.fields[:, 0] = user
    for n in range(AFTER):
        report = made.step(asked, T0 + 50_000 + n)
    assert report.rolled_back
    assert report.touched["ids"].tolist() == user.tolist()
    left = made.state.ids.rows.keys[made.state.ids.rows.keys != 0]
    assert sorted(left) == sorted(keys[keys != user])
    copy.apply_delta(made.delta(report.touched, dense=True))
    np.testing.assert_array_equal(copy.predict(asked).logits, made.predict(asked).logits)
    assert np.isfinite(made.predict(asked).logits).all()
    assert made.step(asked, T0 + 60_000).skipped is None
    assert made.state.ids.rows.find(user).all()


def test_broken_examples_between_good_ones_are_skipped_and_nothing_goes_back() -> None:
    made, broken = trained(4)[0], batch(2, 60)
    broken.counts[0, 0, 0] = np.nan
    for at in range(3 * AFTER):
        assert made.step(broken if at % AFTER else batch(2, at), T0 + 50_000 + at).rolled_back is False
    assert (made.state.skipped, made.state.last_good.rollbacks) == (3 * (AFTER - 1), 0)


def test_restored_between_two_failures_it_goes_back_to_the_same_bytes() -> None:
    made, _ = trained(7)
    made.state.platt.offset[2] = np.nan  # logits stay finite: the probabilities do not
    made.state.blend.share[1] = np.nan
    twin = Trainer(SMALL)
    for n in range(AFTER + 3):
        if n == 2:
            twin.load(made.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(made.meta())))
            twin.state.last_good.every = EVERY
        for one in (made, twin) if n >= 2 else (made,):
            one.step(batch(4, 90 + n), T0 + 50_000 + n)
    assert made.state.last_good.rollbacks == 1
    assert np.isfinite(made.predict(batch(4, 99)).probabilities).all()
    assert twin.digest() == made.digest()


def test_what_is_not_finite_is_never_kept() -> None:
    good = LastGood({"a": np.zeros(2)}, every=2)
    due = []
    for value in (1.0, np.nan, np.inf, 4.0, 5.0):
        due.append(good.due())
        if due[-1]:
            good.keep({"a": np.full(2, value)})
    assert due == [False, True, True, True, False]
    assert good.arrays["a"].tolist() == [4.0, 4.0]
