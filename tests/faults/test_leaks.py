"""No prediction knows what came after its exposure: of the metrics, of copies, of ablations, and of gammas alike."""
from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_model.model_settings import blocks
from online_model.trainer import Trainer
from replay import prequential
from replay.evidence.tables import Evidence, Question
from replay.log_rows import LogRow
from replay.prequential import Result
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables
from tests.replay.evidence.test_tables import SMALL, T

LEARNING = LearnerSettings(micro_batch_examples=64, micro_batch_span_ms=20_000)
LISTENERS, BUCKETS, ACTS_EACH, BUCKET_MS = 20, 24, 10, 300_000
AFTER_MS = 601_000  # from an exposure to its act: all exposures of a bucket have been shown by then


def rows_of(records: list[dict[str, object]]) -> list[LogRow]:
    return [LogRow(n + 1, msgspec.json.encode(record), None) for n, record in enumerate(sorted(records, key=lambda r: r["ts"]))]  # type: ignore[arg-type, return-value]


def shown_and_acted(ts: int, user: int, item: int, name: str, act: str, after_ms: int, apart: bool) -> list[dict[str, object]]:
    """An exposure and its act, of a request or found by the item alone."""
    both = {"user_id": f"u{user}", "item_id": f"i{item}", **({} if apart else {"request_id": name})}
    return [
        both | {"event_id": f"{name}s", "ts": ts, "action": "impression"},
        both | {"event_id": f"{name}a", "ts": ts + after_ms, "action": act, **({"full": True} if act == "play" else {})},
    ]


def replayed(rows: list[LogRow], learning: LearnerSettings = LEARNING) -> Result:
    partition = Partition(PartitionSettings(join_window_ms=900_000), Tables.over(), Catalog())
    learner = Learner(learning, Trainer(SMALL), default_strategy_bandit())
    return prequential.run(prequential.of_file(rows), partition, learner, closing=True)


@pytest.mark.prove
def test_a_coin_tossed_after_the_exposure_can_not_be_foretold() -> None:
    """One coin a listener and 5 minutes decides what all its acts are, each 601 s after its exposure: nothing is knowable when it is shown.

    Acts of a bucket come one after another. A prediction made at the act knows the coin from the first of them: its AUC here was .634.
    """
    rng = np.random.default_rng(16)
    records = []
    for bucket in range(BUCKETS):
        for user in range(LISTENERS):
            act = "play" if rng.random() < 0.5 else "skip"
            for n in range(ACTS_EACH):
                ts = T + bucket * BUCKET_MS + n * 28_000 + int(rng.integers(20_000))
                records += shown_and_acted(ts, user, int(rng.integers(400)), f"{bucket}-{user}-{n}", act, AFTER_MS, apart=False)
    figures = replayed(rows_of(records), LearnerSettings()).metrics["full_play"]
    coins = LISTENERS * BUCKETS
    error = (1 / (3 * coins)) ** 0.5  # of the AUC of as many independent labels as there are coins (Hanley and McNeil 1982, at .5)
    print(f"AUC {figures.auc:.3f}, .500 is right; standard error {error:.3f}")
    assert figures.n == ACTS_EACH * coins
    assert abs(figures.auc - 0.5) < 2.5 * error


ACTS = ("play", "skip", "collect", "dislike")
Acts = list[tuple[int, int, int, str, int, bool]]  # moment shown, user, item, act, how long after, whether without a request

acts = st.lists(
    st.tuples(
        st.integers(0, 7_200_000), st.integers(0, 4), st.integers(0, 6), st.sampled_from(ACTS),
        st.integers(1, 800_000), st.booleans(),
    ),
    min_size=10, max_size=25,
)  # fmt: skip


def predicted(drawn: Acts, question: Question, change: Callable[[int, str], str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times shown, and logits by model. `change`: what an act of a moment is instead."""
    records = []
    for n, (at, user, item, act, after_ms, apart) in enumerate(drawn):
        records += shown_and_acted(T + at, user, item, f"r{n}", change(at + after_ms, act), after_ms, apart)
    evidence = Evidence(question, SMALL, LEARNING, "cpu")
    partition = Partition(PartitionSettings(join_window_ms=900_000), Tables.over(), Catalog())
    prequential.run(prequential.of_file(rows_of(records)), partition, evidence.learner, closing=True, also=evidence.also)
    exposures = evidence._ledger.exposures()
    return exposures.shown_ms - T, exposures.logits


@settings(max_examples=4, deadline=None)
@given(acts, st.integers(0, 7_200_000), st.sampled_from(ACTS))
def test_no_figure_changes_when_acts_after_an_exposure_do(drawn: Acts, cut: int, other: str) -> None:
    """Whatever is done after a moment: what was shown until then is predicted alike, by the learner, by copies and at other gammas."""
    question = Question(spans_ms=(0, 60_000), gammas=(0.0, 1.0), frozen_from_ms=T + 9_000_000, resamples=2)
    shown_ms, before = predicted(drawn, question, lambda at, act: act)
    again_ms, after = predicted(drawn, question, lambda at, act: other if at > cut else act)
    assert len(before) == 5
    for name, logits in before.items():
        np.testing.assert_array_equal(after[name][again_ms <= cut], logits[shown_ms <= cut], err_msg=name)


def test_no_figure_of_an_ablation_changes_when_acts_after_an_exposure_do() -> None:
    rng = np.random.default_rng(8)
    drawn: Acts = []
    for _ in range(9):
        moment, user, item, after_ms = (int(rng.integers(low, high)) for low, high in ((0, 7_200_000), (0, 5), (0, 7), (1, 800_000)))
        drawn.append((moment, user, item, str(rng.choice(ACTS)), after_ms, False))
    question, cut = Question(ablate=blocks(SMALL), frozen_from_ms=T + 9_000_000, resamples=2), 3_600_000
    shown_ms, before = predicted(drawn, question, lambda at, act: act)
    _, after = predicted(drawn, question, lambda at, act: "skip" if act == "play" and at > cut else "play" if at > cut else act)
    assert len(before) > 10 and 2 < (shown_ms <= cut).sum() < 7
    for name, logits in before.items():
        np.testing.assert_array_equal(after[name][shown_ms <= cut], logits[shown_ms <= cut], err_msg=name)
        assert (after[name][-1] != logits[-1]).any()  # what was altered has been learned in the end


def test_a_prediction_waits_for_no_step_and_no_batch_that_is_full() -> None:
    """A log's figures are the same however many exposures are predicted at once."""
    rng = np.random.default_rng(3)
    records = []
    for n in range(120):
        act = "play" if rng.random() < 0.4 else "skip"
        records += shown_and_acted(
            T + n * 9_000, int(rng.integers(9)), int(rng.integers(20)), f"r{n}", act, int(rng.integers(1, 90_000)), False
        )
    whole = replayed(rows_of(records))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("streams.core.learning.learn.PREDICTED", 1)
        singly = replayed(rows_of(records))
    assert singly.digests["trainer"] == whole.digests["trainer"]
    assert {task: f.n for task, f in singly.metrics.items()} == dict.fromkeys(singly.metrics, 120)
    for task, figures in whole.metrics.items():
        assert singly.metrics[task].logloss == pytest.approx(figures.logloss, rel=1e-5)
