"""A target policy among strategies, as a table of probabilities for the rounds of a log.

    strategy:NAME     always that one
    uniform           all arms that could have been drawn, alike
    logged            the logged propensities: every weight is 1, a check of the log
    posteriors:DIR    what a checkpoint of the learner would draw, by its own segments
    FILE              CSV or JSON lines: arm, probability, and, where it matters, segment

Shapes: N rounds, C contexts, A arms.
"""
from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np

from bandit.settings import BanditSettings
from online_model import checkpoint
from replay.log_rows import LogError
from replay.off_policy.policies import Probability, TargetPolicy, always, as_table, of_rows, read_rows
from replay.off_policy.strategy_rounds import StrategyRounds
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.strategy_bandit import StrategyBandit

ONLY = ("strategy:", "posteriors:", "logged")  # a policy that begins so is one among strategies


class StrategyPolicyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a file of probabilities."""

    arm: str
    probability: Probability
    segment: int | None = None


def target_policy(policy: str, rounds: StrategyRounds, settings: BanditSettings) -> TargetPolicy:
    """The policy named, for the rounds of a log; arms that only it knows are added to them. Raises LogError at one that can't be used."""
    n = len(rounds.arm)
    match policy.partition(":"):
        case ("logged", _, ""):
            return TargetPolicy(np.nan_to_num(rounds.propensities), np.arange(n))
        case ("uniform", _, ""):
            drawable = np.isfinite(rounds.propensities)
            return TargetPolicy(drawable / np.maximum(1, drawable.sum(1, keepdims=True)), np.arange(n))
        case ("strategy", _, name) if name:
            return always(name, rounds)
        case ("posteriors", _, folder) if folder:
            return _learned(Path(folder), rounds, settings)
    if not Path(policy).is_file():
        raise LogError(f"--policy {policy}: no such file, nor strategy:NAME, uniform, logged or posteriors:DIR")
    rows = read_rows(Path(policy), StrategyPolicyRow, "arm, probability, and perhaps segment")
    return of_rows(rows, {"segment": rounds.position.tolist()}, rounds, policy)


def _learned(folder: Path, rounds: StrategyRounds, settings: BanditSettings) -> TargetPolicy:
    strategy_bandit = _posteriors(folder, settings)
    policy = strategy_bandit.policies.get(rounds.surface)
    if policy is None:
        raise LogError(f"posteriors:{folder}: it has learned nothing of the strategies of a {rounds.surface}")
    pairs = list(zip(rounds.activity.tolist(), rounds.domain, strict=True))
    of_pair = {pair: strategy_bandit.segments.segment_of(*pair) for pair in set(pairs)}
    vectors = rounds.vectors if policy.linear is not None else [()] * len(pairs)
    contexts = [(of_pair[pair], vector) for pair, vector in zip(pairs, vectors, strict=True)]
    probabilities = {each: dict(zip(policy.names, policy.probabilities(*each).tolist(), strict=True)) for each in sorted(set(contexts))}
    return as_table(probabilities, contexts, rounds)


def _posteriors(folder: Path, settings: BanditSettings) -> StrategyBandit:
    """Of one checkpoint, or of the newest in a folder of them."""
    try:
        saved = checkpoint.load(folder) if (folder / checkpoint.MANIFEST).exists() else checkpoint.load_newest(folder)
        if saved is None:
            raise LogError(f"posteriors:{folder}: no checkpoint there")
        meta = saved.meta.get("posteriors")
        if meta is None:
            raise LogError(f"posteriors:{saved.path}: this checkpoint holds no posteriors")
        arms = {surface: learned["names"] for surface, learned in meta["choosing"]["learned"].items()}
        reward_queue = RewardQueue(StrategyBandit(arms, settings))
        reward_queue.load({name[11:]: array for name, array in saved.arrays.items() if name.startswith("posteriors.")}, meta)
    except (checkpoint.Corrupt, ValueError) as error:
        raise LogError(f"posteriors:{folder}: {error}") from error
    return reward_queue.strategy_bandit
