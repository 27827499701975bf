"""When a micro-batch ends: timelines by hand, and a plain loop over the rule."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings

from online_model.features import Example, ExampleRecord, Reversal, Tick
from online_model.trainer import Trainer
from streams.core.learning.batching import MicroBatch, full_size
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from tests.streams.core.learning.test_learn import COUNT, SMALL, SPAN, T0, batches, closed, example, learner, numbered, reversal


def steps_of(records: Sequence[ExampleRecord]) -> list[tuple[int, int]]:
    """(Place of the record that ended a batch, records in the batch) of each step."""
    made, out = learner(), []
    for n, record in enumerate(records):
        out += [(n, len(step.arrivals_ms)) for step in made.apply(0, numbered([record], n))]
    return out


#  ms  0  0  0  0 | 1     at the fourth: a step of four
def test_a_micro_batch_ends_at_its_count() -> None:
    assert steps_of([example(n) for n in range(COUNT * 2 + 1)]) == [(3, 4), (7, 4)]
    assert steps_of([example(0), reversal(0, 1), example(1, 2), reversal(1, 3)]) == [(3, 4)]  # reversals count, too


#  ms  0   200 | 201      at 201 the first is more than 200 ms ago: a step of two, and the third begins a batch
def test_a_micro_batch_ends_behind_its_span_of_event_time() -> None:
    assert steps_of([example(0), example(1, SPAN), example(2, SPAN + 1)]) == [(2, 2)]
    assert steps_of([example(0, SPAN + 1), example(1, 1), example(2, 0)]) == [(2, 2)]  # a late act: the same, backwards
    assert steps_of([example(0), closed(SPAN, s9=0), example(1, 5), closed(SPAN + 1, s8=0)]) == [(3, 2)]  # closing is time, too


def test_a_micro_batch_ends_at_a_tick_and_an_empty_one_makes_no_step() -> None:
    assert steps_of([Tick(T0, False), example(0), Tick(T0, False), Tick(T0 + 1, True), example(1), Tick(T0, True)]) == [(2, 1), (5, 1)]


def test_a_micro_batch_grows_with_what_has_been_learned() -> None:
    """A 128th of it, from 64 up to what the settings allow."""
    made = Learner(LearnerSettings(micro_batch_examples=70), Trainer(SMALL), default_strategy_bandit())
    sizes = [len(step.arrivals_ms) for step in made.apply(0, numbered([example(n) for n in range(64 * 150)]))]
    assert sizes[0] == 64 and sizes[-1] == 70
    assert sizes == sorted(sizes)
    learned = np.concatenate([[0], np.cumsum(sizes)])
    assert all(size == min(70, max(64, end // 128)) for size, end in zip(sizes, learned[1:], strict=True))


@settings(max_examples=50)
@given(batches)
def test_a_micro_batch_ends_at_count_span_or_tick_and_at_nothing_else(records: list[ExampleRecord]) -> None:
    wanted, open_ = [], list[ExampleRecord]()
    for n, record in enumerate(records):
        if open_ and (isinstance(record, Tick) or abs(record.ts - open_[0].ts) > SPAN):
            wanted.append((n, len(open_)))
            open_ = []
        if isinstance(record, Example | Reversal):
            open_.append(record)
        if len(open_) == COUNT:
            wanted.append((n, len(open_)))
            open_ = []
    assert steps_of(records) == wanted


def test_a_batch_keeps_its_records_over_a_restart_and_begins_empty_after_they_are_taken() -> None:
    first, second = MicroBatch(SPAN), MicroBatch(SPAN)
    first.records += [example(1), reversal(1, 5)]
    second.load(first.arrays())
    assert second.take() == [example(1), reversal(1, 5)]
    assert (len(second), second.ends_before(T0 + SPAN + 1), first.ends_before(T0 + SPAN), first.ends_before(T0 + SPAN + 1)) == (
        0, False, False, True,
    )  # fmt: skip


@pytest.mark.parametrize(("learned", "size"), [(0, 64), (64 * 128 + 127, 64), (65 * 128, 65), (10**6, 70)])
def test_a_full_batch_is_a_128th_of_what_was_learned_within_its_bounds(learned: int, size: int) -> None:
    assert full_size(70, learned) == size
