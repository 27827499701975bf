"""The learner: when a micro-batch ends, that it predicts before it learns, what it scores, and that it survives a restart."""
from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.batch import of_records
from online_model.features import TASKS, Closed, Example, ExampleRecord, Features, Reversal, Reward, Tick
from online_model.metrics import WindowResult
from online_model.trainer import ModelSettings, Trainer
from streams.core.join.records import Outgoing
from streams.core.learning.learn import Learner, LearnerSettings, Step
from streams.core.serving.surfaces import default_strategy_bandit
from tests import strategies

SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4)
T0 = 1_704_067_200_000  # a full day
MINUTE = 60_000
WINDOW = 10 * MINUTE
COUNT, SPAN = 4, 200
FULL, COLLECT, SKIP = (1 << TASKS.index(t) for t in ("full_play", "collect", "skip"))


def learner(sources: int = 1, **changed: int) -> Learner:
    return Learner(
        LearnerSettings(**{"micro_batch_examples": COUNT, "micro_batch_span_ms": SPAN} | changed),
        Trainer(SMALL),
        default_strategy_bandit(),
        sources,
    )


def shown(slot: int, at: int = 0) -> Features:
    """What was shown at T0 + at ms: a user and an item that follow from the slot."""
    fields = struct.pack("<8Q", 100 + slot % 3, 200 + slot % 5, *[0] * 6)
    return Features(fields, *[b""] * 7, b"\0" * 96, b"\0" * 12, -1.0, T0 + at)


def example(slot: int, at: int = 0, labels: int = 0, shown_at: int | None = None) -> Example:
    return Example(slot, T0 + at, T0 + at, labels, 1.0, shown(slot, at if shown_at is None else shown_at))


def reversal(slot: int, at: int, task: str = "collect", sign: int = 1) -> Reversal:
    return Reversal(slot, T0 + at, T0 + at, TASKS.index(task), sign, 1.0, shown(slot))


def closed(at: int, **labels: int) -> Closed:
    return Closed(T0 + at, [int(name[1:]) for name in labels], list(labels.values()), T0 + at - WINDOW)


def reward(slot: int, at: int, arm: int = 0) -> Reward:
    """Of a page whose strategy was chosen."""
    arms = ["blend-0", "tail", "fixed"]
    return Reward(
        slot, T0 + at, T0 + at - WINDOW, 100 + slot % 3, "page", arms[arm], arms, [0.5, 0.25, 0.25], slot % 12, float(slot % 5), slot % 4,
        slot % 3 / 2, 0.1, True,
    )  # fmt: skip


def counts(windows: Sequence[WindowResult], width_min: int = 5) -> list[tuple[int, float]]:
    """(Start in minutes, rows) of the closed windows of one width."""
    return [((w.start_ms - T0) // MINUTE, w.tasks["skip"].n) for w in windows if w.width_ms == width_min * MINUTE]


def numbered(records: Sequence[ExampleRecord], first: int = 0) -> list[Outgoing]:
    return [Outgoing(first + n, 0, 0, record) for n, record in enumerate(records)]


batches = st.lists(
    st.one_of(
        st.builds(example, st.integers(0, 9), st.integers(0, 600)),
        st.builds(reversal, st.integers(0, 9), st.integers(0, 600)),
        st.builds(lambda at: closed(at, s1=0), st.integers(0, 600)),
        st.builds(lambda at: Tick(T0 + at, False), st.integers(0, 600)),
        st.builds(reward, st.integers(0, 9), st.integers(0, 600), st.integers(0, 2)),
    ),
    max_size=25,
)


@settings(max_examples=20)
@given(batches, st.lists(st.integers(1, 7), min_size=25, max_size=25))
def test_how_records_arrive_changes_nothing(records: list[ExampleRecord], sizes: list[int]) -> None:
    """One by one or many at once; and again after a crash, from any place that was passed."""
    once, pieces = learner(), learner()
    steps = once.apply(0, numbered(records))
    at, found = 0, list[Step]()
    for size in sizes:
        again = max(0, at - size // 2)  # sent again
        found += pieces.apply(0, numbered(records[again : at + size], again))
        at += size
    assert [(s.version, s.watermark_ms, s.arrivals_ms) for s in found] == [(s.version, s.watermark_ms, s.arrivals_ms) for s in steps]
    assert pieces.digest() == once.digest()
    assert pieces.meta()["metrics"] == once.meta()["metrics"]


def test_what_is_not_above_its_sources_mark_is_dropped_and_sources_have_marks_of_their_own() -> None:
    made = learner(sources=2)
    first = Outgoing(5, 1, 2, example(1))
    made.apply(0, [first, first])
    made.apply(0, [Outgoing(5, 1, 1, example(2)), Outgoing(5, 0, 9, example(3)), Outgoing(4, 7, 7, example(4))])
    assert made.counted == {"examples": 1, "repeated": 4}
    made.apply(1, [Outgoing(4, 0, 0, example(5))])
    made.apply(0, [Outgoing(5, 1, 3, example(6)), Outgoing(5, 2, 0, example(7)), Outgoing(6, 0, 0, example(8))])
    assert made.counted == {"examples": 5, "repeated": 4}
    assert made.last_applied == {0: (6, 0, 0), 1: (4, 0, 0)}


def test_a_prediction_is_that_of_a_twin_that_has_seen_only_what_came_before() -> None:
    rng = np.random.default_rng(5)
    records = [example(n, n * 50, int(rng.integers(0, 32))) for n in range(40)]
    made, twin = learner(), Trainer(SMALL)
    at = 0
    for n, record in enumerate(records):
        for step in made.apply(0, numbered([record], n)):
            # Behind its span a batch ends at a record that is not in it.
            size = len(step.arrivals_ms)
            batch = of_records(records[at : at + size])
            predicted = twin.predict(batch)
            np.testing.assert_array_equal(step.report.logits, predicted.logits)
            np.testing.assert_array_equal(step.report.probabilities, predicted.probabilities)
            twin.step(batch, step.watermark_ms)
            at += size
    assert at >= 36
    assert made.trainer.digest() == twin.digest()


def test_a_step_names_its_version_its_time_and_the_acts_in_it() -> None:
    made = learner()
    silent = Example(3, T0 + 7, 0, 0, 1.0, shown(3))  # a window closed: no act made it
    (step,) = made.apply(0, numbered([example(1, 5), silent, reversal(1, 9), Tick(T0 + 11, False)]))
    assert (step.version, step.watermark_ms, step.arrivals_ms) == (1, T0 + 11, [T0 + 5, T0 + 9])
    assert (made.version, made.watermark_ms, made.has_open_batch) == (1, T0 + 11, False)


def test_time_does_not_go_back_with_a_late_act() -> None:
    (step,) = learner().apply(0, numbered([example(1, 100), example(2, 40), closed(60, s9=0), Tick(T0 + 20, False)]))
    assert step.watermark_ms == T0 + 100


def test_restored_in_the_middle_of_a_batch_it_goes_on_as_if_never_stopped() -> None:
    rng = np.random.default_rng(3)
    records: list[ExampleRecord] = []
    for n in range(24):
        records += [example(n, n * 60, int(rng.integers(0, 32))), reversal(n, n * 60 + 20)]
        if n >= 10:
            records.append(closed(n * 60, **{f"s{n - 10}": int(rng.integers(0, 32))}))
            records += [reward(n, n * 60 + k, k) for k in range(n % 4)]
    records.append(Tick(T0 + 24 * 60, True))
    whole = learner()
    whole.apply(0, numbered(records))
    open_batches = 0
    for at in range(1, len(records), 13):
        first, second = learner(), learner()
        first.apply(0, numbered(records[:at]))
        open_batches += first.has_open_batch
        second.load(
            {name: array.copy() for name, array in first.arrays().items()}, msgspec.msgpack.decode(msgspec.msgpack.encode(first.meta()))
        )
        assert second.digest() == first.digest()
        assert second.has_open_batch == first.has_open_batch
        second.apply(0, numbered(records))  # from the beginning: the mark says where it was
        assert second.digest() == whole.digest()
        assert (second.version, second.watermark_ms, second.last_applied) == (whole.version, whole.watermark_ms, whole.last_applied)
        assert second.meta()["windows"] == whole.meta()["windows"]
    assert open_batches >= 3


def test_restored_between_the_ends_of_two_sources_it_waits_for_the_second() -> None:
    first, second = learner(sources=2), learner(sources=2)
    first.apply(0, numbered([example(1), Tick(T0, False), closed(WINDOW + 1, s1=0), Tick(T0 + WINDOW, True)]))
    second.load(first.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(first.meta())))
    assert counts(second.take_windows()) == []
    second.apply(1, numbered([Tick(T0 + WINDOW, True)]))
    assert counts(second.take_windows()) == [(0, 1)]


@settings(max_examples=6)
@given(st.lists(strategies.examples, min_size=2, max_size=6, unique_by=lambda e: e.id), st.data())
def test_another_label_another_order_or_one_less_is_another_digest(records: list[Example], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(records) - 2))
    flipped = msgspec.structs.replace(records[at], labels=records[at].labels ^ 1)
    others = [records[:at] + records[at + 1 :], [*records[:at], flipped, *records[at + 1 :]]]
    others += [[*records[:at], records[at], *records[at:]]]
    digests = []
    for log in (records, *others):
        made = learner()
        made.apply(0, numbered([*log, Tick(max(r.ts for r in records), False)]))
        digests.append(made.digest())
    assert all(other != digests[0] for other in digests[1:])


@pytest.mark.parametrize("name", ["micro_batch_examples", "micro_batch_span_ms", "open_predictions", "listed_exposures"])
def test_settings_must_be_positive(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"Expected `int` >= 1 - at `\$.{name}`"):
        msgspec.convert({name: 0}, LearnerSettings)


def test_ids_that_find_no_row_are_counted() -> None:
    """Tables of two rows, each used just now, so that none goes for another."""
    made = Learner(
        LearnerSettings(micro_batch_examples=COUNT),
        Trainer(ModelSettings(id_capacity=2, item_admission_events=1)),
        default_strategy_bandit(),
    )
    made.apply(0, numbered([example(n) for n in range(COUNT)]))
    refused = {name: table.rows.refused for name, table in made.trainer.state.tables().items()}
    assert refused["ids"] > 0 and made.counted["rowless"] == sum(refused.values())
    again = Learner(
        LearnerSettings(micro_batch_examples=COUNT),
        Trainer(ModelSettings(id_capacity=2, item_admission_events=1)),
        default_strategy_bandit(),
    )
    again.load(made.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(made.meta())))
    for learner in (made, again):
        learner.apply(0, numbered([example(n, 1) for n in range(COUNT, 2 * COUNT)], COUNT))
    assert again.counted == made.counted and made.counted["rowless"] > sum(refused.values())


def test_gates_and_identification_are_watched_as_it_learns_and_tell_of_the_last_minute() -> None:
    made = learner()
    assert np.isnan(made.identified[:3]).all() and made.identified[3] == 0
    made.apply(0, numbered([record for n in range(8) for record in (example(n, n * MINUTE), Tick(T0 + n * MINUTE, False))]))
    assert made.identification.rows == pytest.approx(8, rel=0.01)
    assert np.isfinite(made.gates.entropy).all() and made.gates.share[: len(TASKS) + 1].min() > 0
    again = learner()
    again.load(made.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(made.meta())))
    assert again.digest() == made.digest() and again.digest()["watch"] != learner().digest()["watch"]
    np.testing.assert_array_equal(again.identified, made.identified)


def test_a_killed_learner_that_reacts_to_drift_goes_on_to_the_same_bytes() -> None:
    rng = np.random.default_rng(7)
    records: list[ExampleRecord] = []
    for n in range(80):
        records += [example(n, n * 60, int(rng.integers(0, 32))), closed(n * 60 + 1, **{f"s{n}": int(rng.integers(0, 32))})]
    records.append(Tick(T0 + 80 * 60, True))
    whole, calm = (
        Learner(LearnerSettings(micro_batch_examples=COUNT, drift_reaction=r), Trainer(SMALL), default_strategy_bandit())
        for r in (True, False)
    )
    first, second = (
        Learner(LearnerSettings(micro_batch_examples=COUNT, drift_reaction=True), Trainer(SMALL), default_strategy_bandit())
        for _ in range(2)
    )
    for made in (whole, calm, first):
        made.drift.alarm_ms = T0  # as if there had been one
    for made in (whole, calm):
        made.apply(0, numbered(records))
    first.apply(0, numbered(records[:99]))
    second.load(first.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(first.meta())))
    second.apply(0, numbered(records))
    assert second.digest() == whole.digest()
    assert whole.digest()["trainer"] != calm.digest()["trainer"]
