"""A policy among strategies, as a table of chances for the rounds of a log.

    strategy:NAME     always that one
    uniform           all that could have been chosen, alike
    logged            the chances that were logged: every weight is 1, a check of the log
    posteriors:DIR    what a checkpoint of the learner would choose by now, by its own segments
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
from replay.off_policy.policies import SUM_SLACK, Chances, written
from replay.off_policy.strategy_rounds import StrategyRounds
from streams.core.learning.reward_queue import RewardQueue
from streams.core.learning.strategy_bandit import StrategyBandit

Array = np.ndarray
ByContext = dict[int | None, dict[str, float]]  # segment -> arm -> chance

ONLY = ("strategy:", "posteriors:", "logged")  # a policy that begins so can't be meant of items


class Chance(msgspec.Struct, frozen=True):
    """A line of a file of probabilities."""

    arm: str
    probability: float
    segment: int | None = None


def chances(policy: str, rounds: StrategyRounds, settings: BanditSettings) -> Chances:
    """The policy named, for the rounds of a log; arms that only it knows are added to them."""
    n = len(rounds.arm)
    match policy.partition(":"):
        case ("logged", _, ""):
            return Chances(np.nan_to_num(rounds.chances), np.arange(n))
        case ("uniform", _, ""):
            there = np.isfinite(rounds.chances)
            return Chances(there / np.maximum(1, there.sum(1, keepdims=True)), np.arange(n))
        case ("strategy", _, name) if name:
            return _placed({None: {name: 1.0}}, rounds.position, rounds)
        case ("posteriors", _, folder) if folder:
            return _learned(Path(folder), rounds, settings)
    path = Path(policy)
    if not path.is_file():
        raise LogError(f"--policy {policy}: no such file, nor strategy:NAME, uniform, logged or posteriors:DIR")
    return _of_file(path, rounds)


def _learned(folder: Path, rounds: StrategyRounds, settings: BanditSettings) -> Chances:
    strategy_bandit = _posteriors(folder, settings)
    policy = strategy_bandit.policies.get(rounds.surface)
    if policy is None:
        raise LogError(f"posteriors:{folder}: it has learned nothing of the strategies of a {rounds.surface}")
    pairs = list(zip(rounds.activity.tolist(), rounds.domain, strict=True))
    of_pair = {pair: strategy_bandit.segments.segment_of(*pair) for pair in set(pairs)}
    looked = rounds.vectors if policy.linear is not None else [()] * len(pairs)
    who = [(of_pair[pair], vector) for pair, vector in zip(pairs, looked, strict=True)]
    place = {one: at for at, one in enumerate(sorted(set(who)))}
    by_context: ByContext = {at: dict(zip(policy.names, policy.probabilities(*one).tolist(), strict=True)) for one, at in place.items()}
    return _placed(by_context, np.array([place[one] for one in who], np.int64), rounds)


def _posteriors(folder: Path, settings: BanditSettings) -> StrategyBandit:
    """Of one checkpoint, or of the newest in a folder of them."""
    try:
        found = checkpoint.load(folder) if (folder / checkpoint.MANIFEST).exists() else checkpoint.load_newest(folder)
        if found is None:
            raise LogError(f"posteriors:{folder}: no checkpoint there")
        meta = found.meta.get("posteriors")
        if meta is None:
            raise LogError(f"posteriors:{found.path}: this checkpoint is of before strategies were chosen")
        arms = {surface: learned["names"] for surface, learned in meta["choosing"]["learned"].items()}
        reward_queue = RewardQueue(StrategyBandit(arms, settings))
        reward_queue.load({name[11:]: array for name, array in found.arrays.items() if name.startswith("posteriors.")}, meta)
    except (checkpoint.Corrupt, ValueError) as error:
        raise LogError(f"posteriors:{folder}: {error}") from error
    return reward_queue.strategy_bandit


def _of_file(path: Path, rounds: StrategyRounds) -> Chances:
    given = list(written(path, Chance, "arm, probability, and perhaps segment"))
    by_segment = any(c.segment is not None for c in given)
    found: ByContext = {}
    for c in given:
        if not 0 <= c.probability <= 1:
            raise LogError(f"{path}: probability {c.probability} of {c.arm}; expected 0 to 1")
        of = found.setdefault(c.segment, {})
        of[c.arm] = of.get(c.arm, 0.0) + c.probability
    for segment, of in found.items():
        where, total = f" of segment {segment}" if by_segment else "", sum(of.values())
        if abs(total - 1) > SUM_SLACK:
            raise LogError(f"{path}: probabilities{where} sum to {total:.7f}; they must sum to 1")
    for segment in np.unique(rounds.position).tolist() if by_segment else ():
        if segment not in found:
            raise LogError(f"{path}: no probabilities of segment {segment}, which the log has")
    return _placed(found, rounds.position, rounds)


def _placed(by_segment: ByContext, segment: Array, rounds: StrategyRounds) -> Chances:
    """Chances by segment and name as a table; those under None are for all."""
    for name in dict.fromkeys(name for of in by_segment.values() for name in of):
        if name not in rounds.arms:
            rounds.arms.append(name)
            rounds.chances = np.concatenate([rounds.chances, np.full((len(rounds.arm), 1), np.nan)], 1)
    place = {name: at for at, name in enumerate(rounds.arms)}
    table = np.zeros((len(by_segment), len(rounds.arms)))
    for row, of in zip(table, by_segment.values(), strict=True):
        row[[place[name] for name in of]] = list(of.values())
    at = {key: number for number, key in enumerate(by_segment)}
    context = np.zeros(len(segment), np.int64) if None in at else np.array([at[g] for g in segment.tolist()], np.int64)
    return Chances(table / table.sum(1, keepdims=True), context)
