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
from tests.oracles import batch as naive

LENGTHS = {"history": 2, "action": 2, "age_s": 2, "where": 2, "related": 1, "related_action": 1, "related_age_s": 1}  # axis of behaviours
SHARED = ("history", "action", "age_s", "where", "domains", "domain_exposures")

records = st.lists(strategies.examples | strategies.reversals, min_size=1, max_size=4)
compared = st.lists(st.builds(Compared, strategies.features, st.integers(0, 3), st.integers(0, 3)), max_size=2)


@settings(max_examples=40)
@given(records, compared)
def test_of_records_puts_every_number_where_the_loops_put_it(rows: list[Example | Reversal], lists: list[Compared]) -> None:
    ours, expected = of_records(rows, lists), naive.batch(rows, lists)
    assert {f.name for f in fields(Batch)} == set(expected)
    for name, value in expected.items():
        got = getattr(ours, name)
        assert (got.dtype, got.shape) == (value.dtype, value.shape), name
        np.testing.assert_array_equal(got, value, err_msg=name)


@settings(max_examples=20)
@given(records)
def test_a_batch_of_n_is_n_batches_of_one_but_for_padding(rows: list[Example | Reversal]) -> None:
    together = of_records(rows)
    for i, row in enumerate(rows):
        alone = of_records([row])
        for f in fields(Batch):
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
