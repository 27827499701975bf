"""The ranker as the model of the reward: asked before it learns, about every arm of the policy."""
from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from online_model.features import Features
from online_model.model_settings import ModelSettings
from replay.evidence.holdout import featured
from replay.log_rows import LogRow
from replay.off_policy import ranker_model
from replay.off_policy.policies import TargetPolicy, target_policy, without_replacement
from replay.off_policy.ranker_model import RankerModel
from replay.off_policy.rounds import read
from replay.prequential import of_file
from streams.core.join.events import Context
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings

T = 1_704_067_200_000
SETTINGS = PartitionSettings()
SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4, cin_layers=(4,))


def log(flipped_from: int = 10**9, count: int = 60) -> list[LogRow]:
    """Impressions of 4 arms, a minute apart, some played to the end; from a row on the other ones are."""
    rng = np.random.default_rng(1)
    rows = []
    for n in range(count):
        arm, played = int(rng.integers(4)), bool(rng.random() < 0.5)
        act = {"also": ["play"], "full": True} if played != (n >= flipped_from) else {}
        shown = {"event_id": f"e{n}", "ts": T + 60_000 * n, "user_id": f"u{n % 7}", "item_id": f"i{arm}", "propensity": 0.25}
        rows.append(LogRow(n + 1, msgspec.json.encode(shown | {"action": "impression"} | act), None))
    return rows


def asked(rows: list[LogRow], policy: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, TargetPolicy]:
    rounds = read(of_file(rows), SETTINGS, {}, lambda *_: None)
    found = target_policy(policy, rounds)
    model = RankerModel(lambda: of_file(rows), {}, SETTINGS, LearnerSettings(), SMALL, 1, lambda *_: None)
    q, (q_policy,) = model.predicted(rounds, found, [without_replacement(found, rounds)], "full_play")
    return q, q_policy, rounds.arm, found


def test_no_prediction_knows_its_own_reward_nor_a_later_one() -> None:
    q, q_policy, _, _ = asked(log(), "uniform")
    other, other_policy, _, _ = asked(log(flipped_from=30), "uniform")
    assert (q[:31] == other[:31]).all() and (q_policy[:31] == other_policy[:31]).all()
    assert (q[35:] != other[35:]).any()
    assert ((0 < q) & (q < 1)).all()


def test_the_policys_expectation_is_that_of_its_arms() -> None:
    each = [asked(log(count=24), f"arm:i{arm}") for arm in range(4)]
    _, mixed, arms, _ = asked(log(count=24), "uniform")
    assert np.mean([q_policy for _, q_policy, _, _ in each], 0) == pytest.approx(mixed, rel=1e-4)  # float32, other batches
    for place, (q, q_policy, _, found) in enumerate(each):
        same = found.table[0, arms] == 1
        assert same.any(), place
        assert q_policy[same] == pytest.approx(q[same], rel=1e-4)


def test_each_module_of_a_page_is_asked_about_as_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positions begin anew in each module, and so can't tell which one a row is of."""
    asked_for: list[tuple[str, str | None, int | None]] = []

    def noted(machine: Partition, user_id: str, context: Context, ts: int) -> Callable[..., Features]:
        make = featured(machine, user_id, context, ts)

        def made(item_id: str, domain: str | None, module: str | None, position: int | None) -> Features:
            asked_for.append((item_id, module, position))
            return make(item_id, domain, module, position)

        return made

    monkeypatch.setattr(ranker_model, "featured", noted)
    slots = [
        {"item_id": f"i{2 * m + at}", "position": at, "module": module, "propensity": 0.25}
        for m, module in enumerate(("rock", "jazz")) for at in range(2)
    ]  # fmt: skip
    page = {"kind": "exposure", "event_id": "p", "ts": T, "user_id": "u", "request_id": "r", "slots": slots}
    asked([LogRow(1, msgspec.json.encode(page), None)], "uniform")
    assert {(module, at) for item, module, at in asked_for if item == "i0"} == {(m, at) for m in ("rock", "jazz") for at in range(2)}
