"""What a pass puts together: padding, shared histories, the parts that can be taken away."""
from __future__ import annotations

from dataclasses import replace

import numpy as np

from online_model import forward
from online_model.features import BAGS, FIELDS
from tests.online_model.test_trainer import SHARED, batch, trained


def test_candidates_that_share_a_history_are_predicted_as_if_each_had_its_own() -> None:
    made, own = trained(), batch(6, 50)
    own = replace(own, **{name: np.repeat(getattr(own, name)[:1], 6, axis=0) for name in SHARED})
    own.fields[:, FIELDS.index("user")] = own.fields[0, FIELDS.index("user")]
    own.bags[:, BAGS.index("user_attributes")] = own.bags[0, BAGS.index("user_attributes")]
    shared = replace(own, **{name: getattr(own, name)[:1] for name in SHARED})
    assert own.history[0].any()
    np.testing.assert_allclose(made.predict(shared).logits, made.predict(own).logits, rtol=0, atol=1e-5)


def test_longer_padding_changes_no_prediction() -> None:
    made, short = trained(), batch(4, 51)
    pad = [(0, 0), (0, 0), (0, 5)]
    longer = replace(short, **{name: np.pad(getattr(short, name), pad) for name in ("history", "action", "age_s", "where")})
    np.testing.assert_allclose(made.predict(longer).logits, made.predict(short).logits, rtol=0, atol=1e-5)


def test_with_nothing_taken_away_the_logits_are_those_put_together_without_the_switch() -> None:
    made, one = trained(), batch(16, 77)
    run = forward.forward(made.state, one, len(one), learns=False)
    whole = forward.with_other_domains(made.state, run, forward.blended(made.state, run)).float().numpy()
    np.testing.assert_array_equal(made.predict(one, 0.0, 0.0).logits, whole)
    taken = made.predict(one, 0.25, 0.5)
    assert np.abs(taken.logits - whole).max() > 1e-3
    np.testing.assert_allclose(taken.logits, whole - 0.25 * taken.user - 0.5 * taken.popularity, rtol=0, atol=1e-5)
