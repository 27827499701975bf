"""Entropy of gates and shares of experts: by windows, with alarms after an hour of neglect, restorable."""
from __future__ import annotations

import msgspec
import numpy as np
import pytest

from online_model.gate_watch import ALARM_WINDOWS, GATES, LOOK_MS, WINDOW_MS, GateWatch
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import batch

T, S = len(GATES), 2
START = 1_700_000_100_000 // WINDOW_MS * WINDOW_MS
SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4)


def gates(rng: np.random.Generator, dead: int | None = None) -> np.ndarray:
    """Gates [B, T, 1 + S]; one of the shared experts left out."""
    made = rng.random((5, T, 1 + S)) + 0.1
    if dead is not None:
        made[:, :, 1 + dead] = 1e-4
    return made / made.sum(2, keepdims=True)


def shown(watch: GateWatch, one: np.ndarray, now_ms: int) -> None:
    watch.see(one.mean(0), -(one * np.log(one)).sum(2).mean(0), now_ms)


def test_a_window_gives_the_means_of_its_batches_once_the_next_has_begun() -> None:
    rng, watch = np.random.default_rng(1), GateWatch(S)
    seen = [gates(rng) for _ in range(4)]
    for n, one in enumerate(seen):
        shown(watch, one, START + n * LOOK_MS)
    assert np.isnan(watch.entropy).all()
    shown(watch, gates(rng), START + WINDOW_MS)
    whole = np.stack(seen)  # [batches, B, T, 1 + S]
    for task in range(T):
        by_hand = [-sum(w * np.log(w) for w in one[b, task]) for one in seen for b in range(5)]
        assert watch.entropy[task] == pytest.approx(np.mean(by_hand), abs=1e-12)
        assert watch.share[task] == pytest.approx(whole[:, :, task, 0].mean(), abs=1e-12)
    for n in range(S):
        assert watch.share[T + n] == pytest.approx(whole[:, :, :, 1 + n].mean(), abs=1e-12)
    assert watch.experts == (*GATES, "shared_0", "shared_1")


#  windows   0 … 10 neglected | 11 used | 12 … 23 neglected: an hour is full when 23 closes | 24 neglected: no second alarm
def test_an_expert_that_nobody_uses_for_an_hour_gives_one_alarm() -> None:
    rng, watch, alarms = np.random.default_rng(2), GateWatch(S), []
    for window in range(2 * ALARM_WINDOWS + 2):
        shown(watch, gates(rng, None if window == ALARM_WINDOWS - 1 else 1), START + window * WINDOW_MS)
        alarms.append(int(watch.alarms[T + 1]))
    assert alarms == [0] * (2 * ALARM_WINDOWS) + [1, 1]
    assert watch.alarms.sum() == 1


def test_restored_it_goes_on_to_the_same_bytes() -> None:
    rng, made, again = np.random.default_rng(3), GateWatch(S), GateWatch(S)
    some = [gates(rng, 0) for _ in range(20)]
    for n, one in enumerate(some[:9]):
        shown(made, one, START + n * 2 * LOOK_MS)
    again.load(made.arrays())
    for watch in (made, again):
        for n, one in enumerate(some[9:]):
            shown(watch, one, START + (9 + n) * 2 * LOOK_MS)
    assert all(np.array_equal(a, b) for a, b in zip(made.arrays().values(), again.arrays().values(), strict=True))


def test_a_step_looks_at_the_gates_once_a_minute_and_a_restart_does_not_change_when() -> None:
    made, again = Trainer(SMALL), Trainer(SMALL)
    made.step(batch(3, 0), START)
    again.load(made.arrays(), msgspec.msgpack.decode(msgspec.msgpack.encode(made.meta())))
    for one in (made, again):
        looked = [one.step(batch(3, 1 + n), START + n * 20_000).gates for n in range(1, 7)]
        assert [g is not None for g in looked] == [False, False, True, False, False, True]
        ((share, entropy),) = [g for g in looked[2:3] if g is not None]
        assert share.shape == (T, 1 + S) and share.sum(1) == pytest.approx(np.ones(T), abs=1e-6)
        assert (entropy <= np.log(1 + S) + 1e-6).all() and (entropy > 0).all()
    assert made.digest() == again.digest()
