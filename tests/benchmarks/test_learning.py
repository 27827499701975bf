"""Sides that shall differ by their speed alone learn the same; every figure of the benchmark can be made."""
from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pytest
from sklearn.metrics import log_loss

from benchmarks import learning, obvious
from benchmarks.figure import Figure
from benchmarks.learning import Side, Step, ours, steps, take_turns
from online_model.features import TASKS, Example
from online_model.model_settings import ModelSettings


def test_steps_hold_every_example_once_in_order_and_compare_rows_of_closed_lists(log: list[Step]) -> None:
    ids = [r.id for step in log for r in step.records if isinstance(r, Example)]
    assert len(set(ids)) == len(ids) > 1_000
    assert [r.ts for step in log for r in step.records] == sorted(r.ts for step in log for r in step.records)
    assert all(len(step.records) == 32 for step in log)
    assert sum(len(step.compared) for step in log) > 300


def test_a_side_is_judged_by_what_it_said_before_each_step(log: list[Step]) -> None:
    said: list[np.ndarray] = []
    real = ours()

    def learn(step: Step) -> np.ndarray:
        said.append(real.learn(step))
        return said[-1]

    side = Side(learn)
    take_turns([side], [log[:5], log[5:10]])
    examples = [(z, r) for step, logits in zip(log, said, strict=False) for z, r in zip(logits, step.records, strict=True)]
    kept = [(z[0], r.labels & 1) for z, r in examples if isinstance(r, Example)]
    wanted = log_loss([y for _, y in kept], [1 / (1 + math.exp(-z)) for z, _ in kept])
    assert side.tally.read()[0].logloss == pytest.approx(wanted, abs=1e-6)
    assert len(side.rates) == len(side.walls) == 2


def test_the_obvious_version_learns_the_log_in_tables_of_the_size_it_is_given(log: list[Step]) -> None:
    ids, wide = learning.vocabulary(log)
    net = obvious.Obvious(ModelSettings(), ids, wide, 3e-3)
    losses = []
    for _ in range(6):
        z = net.step(log[-1].records, log[-1].compared, log[-1].now_ms)
        labels = np.array([[r.labels >> t & 1 for t in range(len(TASKS))] for r in log[-1].records if isinstance(r, Example)])
        at = [n for n, r in enumerate(log[-1].records) if isinstance(r, Example)]
        losses.append(float((np.logaddexp(0, z[at]) - labels * z[at]).mean()))
    assert losses[-1] < losses[0] - 0.01
    for step in log:
        net.paths([obvious.row(r.features) for r in step.records])
    assert len(net.known) <= ids
    assert len(net.known_wide) <= wide
    assert len(net.known_wide) > 0.9 * wide


def test_plain_din_learns_and_keeps_the_last_positives_of_each_user() -> None:
    net = obvious.PlainDIN(10, length=3)
    fields = np.zeros((4, 8), np.int64)
    fields[:, :2] = [[1, 5], [1, 6], [2, 5], [1, 7]]
    labels = np.array([1, 1, 0, 1], np.float32)
    first = net.step(fields, labels)
    np.testing.assert_array_equal(net.past[:3], [[0, 0, 0], [5, 6, 7], [0, 0, 0]])
    for _ in range(20):
        last = net.step(fields, labels)
    assert net.past[1].tolist() == [5, 6, 7]
    assert (last - first)[labels == 1].min() > 0.1
    assert (last - first)[2] < (last - first)[0]


def test_every_figure_can_be_made(log: list[Step], monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"PIECE": 1, "PIECES": 4, "BATCH": 32, "LARGE": 32, "SMALL": 32, "TRIED": 1, "CATALOG": (2_000, 20_000)}
    for name, value in few.items():
        monkeypatch.setattr(learning, name, value)
    first = learning.against_obvious(log[:3], 32)
    made = [first, learning.blocks(log), learning.measures(log), learning.light(log), learning.dense_steps(log)]
    figures = [figure for group in made for figure in group]
    names = [figure.what for figure in figures]
    assert names[0] == "learned and predicted, every block on, 32 a step"
    assert {f"NE of {task}, 32 a step" for task in TASKS} <= set(names)
    assert {f"without {block}" for block in learning.BLOCKS} <= set(names)
    assert all(figure.ours > 0 and figure.theirs > 0 for figure in figures if figure.unit)


def told(figures: Iterable[Figure]) -> list[Figure]:
    """Printed as they come."""
    out = []
    for f in figures:
        out.append(f)
        print(f"{f.what}: {f.ours:,.4g} {f.unit}; {f.baseline}: {f.theirs:,.4g}; ratio {f.ratio:.3f}")
    return out


@pytest.mark.prove
@pytest.mark.parametrize("size", [learning.BATCH, learning.LARGE])
def test_the_learner_predicts_no_worse_than_the_same_network_as_written_first(size: int) -> None:
    """Speeds are printed for the record; what must hold is the NE, within 0.2 %, of the tasks that a simulated log has enough of."""
    figures = {f.what: f for f in told(learning.against_obvious(steps(learning.EVENTS, size), size))}
    for task in ("full_play", "skip", "collect"):
        assert figures[f"NE of {task}, {size} a step"].ratio <= 1.002


@pytest.mark.prove
@pytest.mark.gpu
def test_figures_of_a_gpu_are_told() -> None:
    """Into the results, with device and date: the step rate, and what bounds it."""
    figures = told(learning.cuda(steps(learning.EVENTS, learning.BATCH)))
    assert len(figures) == 4
    assert all(f.ours > 0 and f.theirs > 0 for f in figures)
