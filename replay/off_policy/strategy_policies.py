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
from replay.off_policy.policies import SUM_SLACK, TargetPolicy, read_rows
from replay.off_policy.strategy_rounds import StrategyRounds
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.strategy_bandit import StrategyBandit

Array = np.ndarray
ByContext = dict[int | None, dict[str, float]]  # segment -> arm -> probability

ONLY = ("strategy:", "posteriors:", "logged")  # a policy that begins so is one among strategies


class StrategyPolicyRow(msgspec.Struct, frozen=True):
    """A line of a file of probabilities."""

    arm: str
    probability: float
    segment: int | None = None


def target_policy(policy: str, rounds: StrategyRounds, settings: BanditSettings) -> TargetPolicy:
    """The policy named, for the rounds of a log; arms that only it knows are added to them."""
    n = len(rounds.arm)
    match policy.partition(":"):
        case ("logged", _, ""):
            return TargetPolicy(np.nan_to_num(rounds.propensities), np.arange(n))
        case ("uniform", _, ""):
            drawable = np.isfinite(rounds.propensities)
            return TargetPolicy(drawable / np.maximum(1, drawable.sum(1, keepdims=True)), np.arange(n))
        case ("strategy", _, name) if name:
            return _as_table({None: {name: 1.0}}, rounds.position, rounds)
        case ("posteriors", _, folder) if folder:
            return _learned(Path(folder), rounds, settings)
    path = Path(policy)
    if not path.is_file():
        raise LogError(f"--policy {policy}: no such file, nor strategy:NAME, uniform, logged or posteriors:DIR")
    return _of_file(path, rounds)


def _learned(folder: Path, rounds: StrategyRounds, settings: BanditSettings) -> TargetPolicy:
    strategy_bandit = _posteriors(folder, settings)
    policy = strategy_bandit.policies.get(rounds.surface)
    if policy is None:
        raise LogError(f"posteriors:{folder}: it has learned nothing of the strategies of a {rounds.surface}")
    pairs = list(zip(rounds.activity.tolist(), rounds.domain, strict=True))
    of_pair = {pair: strategy_bandit.segments.segment_of(*pair) for pair in set(pairs)}
    vectors = rounds.vectors if policy.linear is not None else [()] * len(pairs)
    contexts = [(of_pair[pair], vector) for pair, vector in zip(pairs, vectors, strict=True)]
    place = {context: at for at, context in enumerate(sorted(set(contexts)))}
    by_context: ByContext = {at: dict(zip(policy.names, policy.probabilities(*each).tolist(), strict=True)) for each, at in place.items()}
    return _as_table(by_context, np.array([place[context] for context in contexts], np.int64), rounds)


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


def _of_file(path: Path, rounds: StrategyRounds) -> TargetPolicy:
    given = list(read_rows(path, StrategyPolicyRow, "arm, probability, and perhaps segment"))
    by_segment = any(c.segment is not None for c in given)
    by_context: ByContext = {}
    for c in given:
        if not 0 <= c.probability <= 1:
            raise LogError(f"{path}: probability {c.probability} of {c.arm}; expected 0 to 1")
        of = by_context.setdefault(c.segment, {})
        of[c.arm] = of.get(c.arm, 0.0) + c.probability
    for segment, of in by_context.items():
        where, total = f" of segment {segment}" if by_segment else "", sum(of.values())
        if abs(total - 1) > SUM_SLACK:
            raise LogError(f"{path}: probabilities{where} sum to {total:.7f}; they must sum to 1")
    for segment in np.unique(rounds.position).tolist() if by_segment else ():
        if segment not in by_context:
            raise LogError(f"{path}: no probabilities of segment {segment}, which the log has")
    return _as_table(by_context, rounds.position, rounds)


def _as_table(by_segment: ByContext, segment: Array, rounds: StrategyRounds) -> TargetPolicy:
    """Probabilities by segment and arm as a table; those under None hold for all segments."""
    for name in dict.fromkeys(name for of in by_segment.values() for name in of):
        if name not in rounds.arms:
            rounds.arms.append(name)
            rounds.propensities = np.concatenate([rounds.propensities, np.full((len(rounds.arm), 1), np.nan)], 1)
    place = {name: at for at, name in enumerate(rounds.arms)}
    table = np.zeros((len(by_segment), len(rounds.arms)))
    for row, of in zip(table, by_segment.values(), strict=True):
        row[[place[name] for name in of]] = list(of.values())
    at = {key: number for number, key in enumerate(by_segment)}
    context = np.zeros(len(segment), np.int64) if None in at else np.array([at[g] for g in segment.tolist()], np.int64)
    return TargetPolicy(table / table.sum(1, keepdims=True), context)
