"""Policies among strategies: the posteriors of a checkpoint and files of probabilities."""
from __future__ import annotations

import json
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from bandit.settings import BanditSettings
from online_model import checkpoint
from replay import logs
from replay.log_rows import LogError
from replay.off_policy import strategy_rounds
from replay.off_policy.log_pass import apply_records
from replay.off_policy.strategy_policies import target_policy
from replay.prequential import of_file
from streams.core.join.settings import PartitionSettings
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.strategy_bandit import StrategyBandit
from tests.replay.off_policy.strategy_log import ARMS, FULL, written
from tests.replay.off_policy.test_strategy_rounds import FEW, MANY, Rows, call, evaluated, taken


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("log") / "events.jsonl", n=MANY)


def test_lines_without_a_segment_hold_for_no_round_where_others_name_one(tmp_path: Path) -> None:
    """By hand: segments 0 and 1 of the log have a line each; the third line is of no segment of the log."""
    rounds, policy = taken(tmp_path / "log.jsonl", 40), tmp_path / "policy.csv"
    policy.write_text("segment,arm,probability\n,tail,1\n0,explore,1\n1,blend-0,1\n")
    found = target_policy(str(policy), rounds, BanditSettings())
    by_segment = {0: [0, 0, 1], 1: [1, 0, 0]}  # of blend-0, tail, explore
    wanted = [[by_segment[segment][ARMS.index(arm)] for arm in rounds.arms] for segment in rounds.position.tolist()]
    assert found.table[found.context].tolist() == wanted
    policy.write_text("segment,arm,probability\n,tail,1\n0,explore,1\n")
    with pytest.raises(LogError, match="no probabilities of segment 1, which the log has"):
        target_policy(str(policy), rounds, BanditSettings())


def test_the_posteriors_of_a_checkpoint_choose_by_their_own_segments(tmp_path: Path) -> None:
    log = taken(tmp_path / "log.jsonl")
    reward_queue = RewardQueue(StrategyBandit({"page": ("tail", "new", "blend-0", "explore"), "list": ("a", "b")}, BanditSettings()))
    rows = logs.read([tmp_path / "log.jsonl"], logs.Format.JSONL, logs.Columns())
    reader = strategy_rounds.StrategyReader(PartitionSettings())
    deque(apply_records(of_file(rows), PartitionSettings(), [reader]), maxlen=0)
    for reward in reader.rewards:
        if reward_queue.put(reward):
            reward_queue.learn()
    reward_queue.learn()
    arrays = {f"posteriors.{name}": array for name, array in reward_queue.arrays().items()}
    checkpoint.save(tmp_path / "kept", checkpoint.name_of(1, 5), arrays, {"posteriors": reward_queue.meta()})
    found = target_policy(f"posteriors:{tmp_path / 'kept'}", log, BanditSettings())
    assert log.arms == ["blend-0", "tail", "explore", "new"]
    for n in (0, 1, 2, 3):
        drawn, choice = reward_queue.strategy_bandit.choose("page", log.activity[n], log.domain[n], 0.5)
        wanted = dict(zip(choice.arms, choice.propensities, strict=True))
        assert found.table[found.context[n]] == pytest.approx([wanted[name] for name in log.arms], abs=1e-12)
    one = target_policy(f"posteriors:{tmp_path / 'kept' / checkpoint.name_of(1, 5)}", log, BanditSettings())
    assert one.table.tolist() == found.table.tolist()
    done = call("evaluate", str(tmp_path / "log.jsonl"), "--format", "jsonl", "--policy", f"posteriors:{tmp_path / 'kept'}", "--json")
    assert done.exit_code == 1  # of what `new` earns the log knows nothing
    assert any("arms that the log never showed" in said for said in json.loads(done.stdout)["families"][0]["reasons"])


def test_posteriors_of_linear_arms_choose_by_what_was_known_of_each_user(tmp_path: Path) -> None:
    rng, settings = np.random.default_rng(3), BanditSettings(arms="linear")

    def seen(rows: Rows) -> None:
        for row in rows[::2]:
            row["choice"]["vector"] = np.round(rng.normal(0, 0.2, 32), 4).tolist()

    path = written(tmp_path / "log.jsonl", seen, n=FEW)
    reader = strategy_rounds.StrategyReader(PartitionSettings())
    deque(apply_records(of_file(logs.read([Path(path)], logs.Format.JSONL, logs.Columns())), PartitionSettings(), [reader]), maxlen=0)
    reward_queue = RewardQueue(StrategyBandit({"page": ARMS}, settings))
    for reward in reader.rewards:
        reward_queue.put(reward)
    reward_queue.learn()
    arrays = {f"posteriors.{name}": array for name, array in reward_queue.arrays().items()}
    checkpoint.save(tmp_path / "kept", checkpoint.name_of(1, 5), arrays, {"posteriors": reward_queue.meta()})
    log = reader.rounds("page")
    found = target_policy(f"posteriors:{tmp_path / 'kept'}", log, settings)
    for n in range(FEW):
        choice = reward_queue.strategy_bandit.choose("page", log.activity[n], log.domain[n], 0.5, log.vectors[n])[1]
        assert found.table[found.context[n]] == pytest.approx(choice.propensities, abs=1e-12)
    assert len(np.unique(found.table, axis=0)) == FEW


def test_a_file_of_probabilities_by_segment(log: str, tmp_path: Path) -> None:
    policy = tmp_path / "policy.csv"
    policy.write_text("segment,arm,probability\n0,explore,1\n1,blend-0,0.9\n1,tail,0.1\n")
    code, found = evaluated(log, str(policy), "--of", "strategies", "--estimators", "ips,dr")
    truth = FULL * (0.6 + 0.9 * 0.5 + 0.1 * 0.3) / 2
    assert code == 0
    for each in found["families"][0]["estimates"]:
        assert each["interval"]["low"] < truth < each["interval"]["high"]
    few = written(tmp_path / "few.jsonl", n=FEW)
    for text, said in (
        ("segment,arm,probability\n0,tail,1\n", "no probabilities of segment 1, which the log has"),
        ("arm,probability\ntail,0.5\n", "sum to 0.5000000"),
        ("item_id,probability\ntail,1\n", "expected arm, probability, and perhaps segment"),
    ):
        policy.write_text(text)
        done = call("evaluate", few, "--format", "jsonl", "--policy", str(policy), "--of", "strategies")
        assert done.exit_code == 2 and said in done.stderr, done.stderr
