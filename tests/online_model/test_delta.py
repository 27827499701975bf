"""A replica that follows by deltas predicts what the trainer predicts."""
from __future__ import annotations

import numpy as np

from online_model.trainer import ModelSettings, Trainer
from tests.online_model.test_trainer import DAY, T0, batch, trained


def test_a_serving_copy_follows_by_deltas() -> None:
    made, copy = trained(), Trainer(ModelSettings())
    copy.load(made.arrays(), made.meta())
    for at in range(5):
        report = made.step(batch(3, 80 + at), T0 + 15 * DAY * at)  # with expiry: tombstones
        copy.apply_delta(made.delta(report.touched, dense=True))
        asked = batch(5, 90 + at)
        np.testing.assert_array_equal(copy.predict(asked).logits, made.predict(asked).logits)
        np.testing.assert_array_equal(copy.predict(asked).probabilities, made.predict(asked).probabilities)
        assert sorted(copy.state.ids.rows.keys[copy.state.ids.rows.keys != 0]) == sorted(
            made.state.ids.rows.keys[made.state.ids.rows.keys != 0]
        )


def test_a_delta_without_the_dense_part_is_small_and_moves_the_touched_rows() -> None:
    made, copy = trained(), Trainer(ModelSettings())
    copy.load(made.arrays(), made.meta())
    report = made.step(batch(1, 80), T0 + 9000)
    delta = made.delta(report.touched, dense=False)
    assert len(delta) < 40_000
    copy.apply_delta(delta)
    keys = report.touched["ids"]
    np.testing.assert_array_equal(
        copy.state.ids.read(keys, copy.state.ids.rows.find(keys)).numpy(), made.state.ids.read(keys, made.state.ids.rows.find(keys)).numpy()
    )
