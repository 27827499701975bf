"""The whole state: restored, refused, bounded, and without the ids that were erased."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest

from online_model.features import FIELDS
from online_model.trainer import ModelSettings, Trainer
from tests.online_model.test_trainer import DAY, T0, batch, trained


def test_restored_goes_on_as_if_never_stopped() -> None:
    made = trained()
    again = Trainer(ModelSettings())
    again.load(made.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(made.meta())))
    assert again.digest() == made.digest()
    for one in (made, again):
        for at in range(4):
            one.step(batch(3, 70 + at, users=60), T0 + 20 * DAY + at)  # later than the expiry: rows go and come
    assert again.digest() == made.digest()


def test_a_checkpoint_of_other_settings_is_refused_by_name() -> None:
    made = trained()
    with pytest.raises(ValueError, match=r"wide_rate: 0\.\d+ -> 0\.5"):
        Trainer(ModelSettings(wide_rate=0.5)).load(made.arrays(), made.meta())


def test_erased_ids_have_no_row() -> None:
    made = trained()
    keys = made.state.ids.rows.keys[made.state.ids.rows.keys != 0][:3]
    made.forget(keys)
    assert made.state.ids.rows.find(keys).tolist() == [0, 0, 0]


@pytest.mark.parametrize("column", ["user", "item"])
def test_of_an_erased_id_no_table_has_a_row_whatever_it_is_keyed_by(column: str) -> None:
    """Tables of pairs aside: an id that is learned again afterwards is as one that never was."""
    made = trained()
    one = batch(4, 99)
    made.step(one, T0 + 10_000)
    keys = np.unique(one.fields[:, FIELDS.index(column)])
    asked = dict.fromkeys(made.state.tables(), keys) | {"ids": np.concatenate([keys, np.unique(made.state.domains.own_rows(keys))])}
    there = {name for name, table in made.state.tables().items() if table.rows.find(asked[name]).any()}
    assert {"ids", "wide"} <= there and (column == "user" or {"cross", "levels"} <= there)
    gone = made.forget(keys)
    for name, table in made.state.tables().items():
        assert not table.rows.find(asked[name]).any(), name
        assert set(asked[name].tolist()) <= set(gone[name].tolist()), name


def test_tables_stay_within_their_capacity() -> None:
    made = Trainer(ModelSettings(id_capacity=50, wide_capacity=300, floor_h=0.0))
    for at in range(40):
        made.step(batch(4, at, users=1000, items=1000), T0 + at * 60_000)
    assert len(made.state.ids.rows) <= 50
    assert len(made.state.wide.rows) <= 300
    assert len(made.state.ids.weights) <= 51


def test_users_have_a_row_in_each_domain_or_one_for_all() -> None:
    """Elkahky et al., WWW 2015, share the user's side; own rows are the default (MODEL.md section 5)."""
    one = batch(1, 1)
    user = one.fields[:, 0]
    for domain_rows, rows in ((True, {2, 3}), (False, {0})):  # two that the user has been to, and where the item is
        made = Trainer(ModelSettings(domain_rows=domain_rows))
        made.state.domains.learn(np.array([5000, 5001], np.uint64))
        made.step(one, T0)
        assert len(np.flatnonzero(made.state.ids.rows.find(made.state.domains.own_rows(user)[0]))) in rows
        assert made.state.ids.rows.find(user)[0] != 0


def test_after_a_silent_night_of_twice_the_expiry_a_quarter_of_the_ids_stays_the_most_used_ones() -> None:
    made = Trainer(ModelSettings())
    for at in range(8):
        made.step(batch(64, at, users=400 if at % 2 else 8), T0 + at)  # eight users come back again and again
    rows = made.state.ids.rows
    before, often = len(rows), np.arange(1000, 1008, dtype=np.uint64)
    assert (rows.find(often) != 0).all()
    made.step(batch(2, 99, users=1), T0 + 28 * DAY)
    assert len(rows) >= before // 4 > 60
    assert (rows.find(often) != 0).all()
    later = len(rows)
    made.step(batch(2, 99, users=1), T0 + 60 * DAY)
    assert len(rows) == later  # however long it is silent
