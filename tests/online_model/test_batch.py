"""Batches against one unpack a number."""
from __future__ import annotations

from dataclasses import fields

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.batch import Batch, Compared, of_candidates, of_features, of_records
from online_model.features import TASKS, Example, Features, Reversal
from tests import strategies
from tests.online_model.test_trainer import apart
from tests.oracles import batch as naive

LENGTHS = {"history": 2, "action": 2, "age_s": 2, "where": 2, "related": 1, "related_action": 1, "related_age_s": 1}  # axis of behaviours
SHARED = ("history", "action", "age_s", "where", "domains", "domain_exposures")

records = st.lists(strategies.examples | strategies.reversals, min_size=1, max_size=4)
compared = st.lists(st.builds(Compared, strategies.features, st.integers(0, 3), st.integers(0, 3)), max_size=2)


@settings(max_examples=40)
@given(records, compared)
def test_of_records_puts_every_number_where_the_loops_put_it(rows: list[Example | Reversal], lists: list[Compared]) -> None:
    ours, expected = apart(of_records(rows, lists)), naive.batch(rows, lists)
    assert {f.name for f in fields(Batch)} == {*expected, "owner"}
    for name, value in expected.items():
        got = getattr(ours, name)
        assert (got.dtype, got.shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(got, value, err_msg=name)


@settings(max_examples=20)
@given(records)
def test_a_batch_of_n_is_n_batches_of_one_but_for_padding(rows: list[Example | Reversal]) -> None:
    together = apart(of_records(rows))
    for i, row in enumerate(rows):
        alone = of_records([row])
        assert alone.owner is None
        for f in fields(Batch):
            if f.name == "owner":
                continue
            one, of_many = getattr(alone, f.name)[0], getattr(together, f.name)[i]
            if f.name in LENGTHS:
                assert not of_many[..., one.shape[-1] :].any(), f.name
                of_many = of_many[..., : one.shape[-1]]
            np.testing.assert_array_equal(one, of_many, err_msg=f.name)


@given(strategies.features)
def test_features_to_be_scored_are_unlabelled_examples(one: Features) -> None:
    candidates, examples = of_features([one]), of_records([Example(0, 0, 0, 0, 1.0, one)])
    for f in fields(Batch):
        np.testing.assert_array_equal(getattr(candidates, f.name), getattr(examples, f.name), err_msg=f.name)


@settings(max_examples=40)
@given(st.lists(strategies.features, min_size=2, max_size=4), st.lists(st.integers(0, 3), min_size=6, max_size=12))
def test_what_one_user_has_at_one_moment_is_held_once(users: list[Features], picks: list[int]) -> None:
    rows = [Example(n, 0, 0, 0, 1.0, users[pick % len(users)]) for n, pick in enumerate(picks)]
    ours = of_records(rows)
    of = [r.features for r in rows]
    halves = {(f.fields[:8], f.shown_ms, f.positive, f.negative, f.domains, f.user_attributes, f.context) for f in of}
    assert len(ours.history) == (len(halves) if len(halves) <= 0.75 * len(rows) else len(rows))
    np.testing.assert_array_equal(apart(ours).history, naive.batch(rows)["history"])
    first = ours.first()
    if ours.owner is not None:
        assert ours.owner[first].tolist() == list(range(len(halves)))  # one row of each, in the order in which they come up
        assert [ours.owner.tolist().index(n) for n in range(len(halves))] == first.tolist()


def test_no_candidates_are_an_empty_batch() -> None:
    empty = of_features([])
    assert len(empty) == 0 and empty.history.shape == (0, 2, 1) and empty.labels.shape == (0, len(TASKS))


@settings(max_examples=40)
@given(strategies.features, strategies.features)
def test_candidates_share_the_history_that_each_of_them_has(one: Features, other: Features) -> None:
    common = {name: getattr(one, name) for name in ("context", "user_attributes", "positive", "negative", "domains", "shown_ms")}
    rows = [one, msgspec.structs.replace(other, **common)]
    shared, each = of_candidates(rows), of_features(rows)
    for f in fields(Batch):
        ours = getattr(shared, f.name)
        if f.name in SHARED:
            assert len(ours) == 1
            ours = np.repeat(ours, 2, axis=0)
        np.testing.assert_array_equal(ours, getattr(each, f.name), err_msg=f.name)
