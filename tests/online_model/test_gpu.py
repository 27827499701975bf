"""A trainer on CUDA is the trainer on the CPU: the losses of 200 steps, what it then predicts, and what it saves and publishes."""
from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from benchmarks.learning import Step, steps
from online_model.batch import of_records
from online_model.model_settings import ModelSettings
from online_model.trainer import StepReport, Trainer

DEVICE = "cuda"
STEPS, SIZE = 200, 32
CLOSE = 1e-4

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def log() -> list[Step]:
    """The simulator's log: histories, reversals, lists to compare, ids that come and are admitted."""
    made = steps(9_000, SIZE)
    assert len(made) > STEPS
    return made


def learn(trainer: Trainer, log: list[Step]) -> list[StepReport]:
    return [trainer.step(of_records(step.records, step.compared), step.now_ms) for step in log[:STEPS]]


@pytest.fixture(scope="module")
def both(log: list[Step]) -> tuple[tuple[Trainer, list[StepReport]], tuple[Trainer, list[StepReport]]]:
    """On the CPU, on CUDA."""
    cpu, gpu = Trainer(ModelSettings()), Trainer(ModelSettings(), DEVICE)
    return (cpu, learn(cpu, log)), (gpu, learn(gpu, log))


Both = tuple[tuple[Trainer, list[StepReport]], tuple[Trainer, list[StepReport]]]


def test_they_are_two_devices(both: Both) -> None:
    (cpu, _), (gpu, _) = both
    assert {p.device.type for p in cpu.state.ranker.parameters()} == {"cpu"}
    for trainer_part in (
        *gpu.state.ranker.parameters(),
        gpu.state.ids.weights,
        gpu.state.wide.squares,
        gpu.state.number_weights.weights,
        gpu.state.dense.mean,
    ):
        assert trainer_part.device.type == DEVICE


def test_losses_of_200_steps_are_those_of_the_cpu(both: Both) -> None:
    (_, cpu), (_, gpu) = both
    assert len(cpu) == STEPS
    assert all(report.skipped is None for report in (*cpu, *gpu))
    np.testing.assert_allclose([r.loss for r in gpu], [r.loss for r in cpu], rtol=0, atol=CLOSE)
    assert np.std([r.loss for r in cpu]) > 100 * CLOSE  # the losses do differ, by more than what is allowed


def test_the_same_rows_were_touched(both: Both) -> None:
    (_, cpu), (_, gpu) = both
    for a, b in zip(cpu, gpu, strict=True):
        assert a.touched.keys() == b.touched.keys()
        for table in a.touched:
            np.testing.assert_array_equal(a.touched[table], b.touched[table])


def test_a_state_saved_on_cuda_predicts_alike_on_the_cpu(both: Both, log: list[Step]) -> None:
    _, (gpu, _) = both
    restored = Trainer(ModelSettings())
    restored.load(gpu.arrays(), gpu.meta())
    batch = of_records(log[STEPS].records)
    wanted, found = gpu.predict(batch), restored.predict(batch)
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(found.rank, wanted.rank, rtol=0, atol=CLOSE)
    assert restored.digest() == gpu.digest()


def test_a_serving_copy_on_the_cpu_follows_a_learner_on_cuda_by_its_deltas(log: list[Step]) -> None:
    gpu, copy = Trainer(ModelSettings(), DEVICE), Trainer(ModelSettings())
    for step in log[:20]:
        report = gpu.step(of_records(step.records, step.compared), step.now_ms)
        copy.apply_delta(gpu.delta(report.touched, dense=True))
    batch = of_records(log[20].records)
    np.testing.assert_allclose(copy.predict(batch).probabilities, gpu.predict(batch).probabilities, rtol=0, atol=CLOSE)


def test_a_step_waits_for_the_device_once(log: list[Step]) -> None:
    """CUDA's own account of what the host waits for. Not among them: the first steps, which set up; a look at the gates, once a minute."""
    gpu = Trainer(ModelSettings(), DEVICE)
    learn(gpu, log[:40])
    for step in log[40:60]:
        gpu.state.looked_ms = step.now_ms
        batch = of_records(step.records, step.compared)
        with warnings.catch_warnings(record=True) as waited:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                gpu.step(batch, step.now_ms)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        assert len([w for w in waited if "synchronizing" in str(w.message)]) == 1, [str(w.message) for w in waited]
