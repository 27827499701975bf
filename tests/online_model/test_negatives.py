"""Exposures without an act, of which a share is learned from: what is predicted is the rate among all of them."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.trainer import Trainer
from tests.online_model.test_trainer import T0, batch, part

RATES = {"full_play": 0.3, "collect": 0.05, "skip": 0.3}  # the rest of all exposures, .35, ends without an act
SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4, cin=False, id_cross=False, cross_domain=False)


def judged(*shares: float, n: int = 12_000) -> tuple[dict[str, float], int]:
    """Labels over probabilities in the second half of a log of n exposures, all of which are predicted; how many were learned.

    `shares`: that were kept, one after the other, each for an equal part of the log.
    """
    rng, w = np.random.default_rng(5), np.repeat(shares, n // len(shares))
    act = rng.choice([*RATES, ""], n, p=[*RATES.values(), 1 - sum(RATES.values())])
    kept = (act != "") | (rng.random(n) < w)
    made, learned, of = Trainer(SMALL), 0, {task: [0.0, 0.0] for task in RATES}
    for at in range(0, n, 120):
        now, rows = slice(at, at + 120), np.flatnonzero(kept[at : at + 120])
        one = replace(
            batch(120, at),
            labels=(act[now, None] == np.array(TASKS)).astype(np.float32),
            sampling_rate=np.where(act[now] == "", w[now], 1.0).astype(np.float32),
        )
        if at >= n // 2:
            for task, sums in of.items():
                sums[0] += (act[now] == task).sum()
                sums[1] += made.predict(one).probabilities[:, TASKS.index(task)].sum()
        made.step(part(one, rows), T0 + at)
        learned += len(rows)
    return {task: labels / predicted for task, (labels, predicted) in of.items()}, learned


@pytest.mark.parametrize(("w", "learned"), [
    pytest.param((1.0,), 12_000, marks=pytest.mark.prove), pytest.param((0.1,), 8_220, marks=pytest.mark.prove),
    ((1.0, 0.1, 0.5, 0.1), 9_585),
])  # fmt: skip
def test_copc_is_one_at_any_kept_share_and_where_it_changes(w: tuple[float, ...], learned: int) -> None:
    # 12,000 (.65 + .35 w) are learned from; of 6,000 judged ones 1,800 are full plays and 300 collects: standard errors of .02 and .06
    copc, n = judged(*w)
    print(f"{n} are learned from, {learned} expected; COPC {copc}")
    assert n == pytest.approx(learned, abs=3 * (12_000 * 0.35 * 0.65) ** 0.5)
    assert copc["full_play"] == pytest.approx(1, abs=0.06)
    assert copc["skip"] == pytest.approx(1, abs=0.06)
    assert copc["collect"] == pytest.approx(1, abs=0.18)
