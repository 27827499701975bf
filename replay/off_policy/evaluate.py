"""`segue evaluate`'s answer: what another policy would have earned, by the families of estimators that were asked for.

`estimation.py` estimates; here the call is checked, and what a log can answer is said beforehand.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from bandit import verdict
from replay.log_rows import LogError
from replay.off_policy import rounds as item_rounds
from replay.off_policy import strategy_rounds
from replay.off_policy.estimation import (
    ITEMS,
    MARGINAL_ONLY,
    MODEL_FREE,
    SLATES,
    SLOTS,
    TUNED,
    UNIFORM_SLACK,
    Estimation,
    Family,
    RewardModel,
    Settings,
    conditional_coverage,
    unlearned,
)
from replay.off_policy.policies import TargetPolicy, target_policy
from replay.off_policy.rounds import LoggedRounds, Rounds, reach
from replay.off_policy.strategy_rounds import StrategyRounds

NAMES = (*ITEMS, *SLOTS, *SLATES)
FAMILIES = {"items": ITEMS, "slots": SLOTS, "lists": SLATES}
Q_HATS = ("cross-fitted", "out-of-time", "ranker")
LEVELS = {"items": ("full_play", "ranker"), "strategies": ("experience", "out-of-time")}  # reward and q̂ where none is named


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of an evaluation."""

    policy: str
    surface: str | None  # of strategies: page or list
    reward: str
    q_hat: str
    rows: int
    unseen: int  # slates left out, since no act or impression says that they were on a screen
    named: int  # slates left out, since their request named the strategy: it was not drawn
    requests: int
    arms: int
    rejected: int
    acts: int
    unjoined: int
    late: int
    rounded: int  # propensities that rounding had brought above 1; they count as 1
    mostly_rejected: str | None = None  # where more than half of the records were rejected: how many, and the first one
    answers: bool  # no estimator that was asked for is refused
    families: list[Family]


def parse_estimators(names: Sequence[str]) -> list[tuple[str, float | None]]:
    """`name` or `name:parameter` each. Raises LogError at another name or a parameter out of bounds.

    >>> parse_estimators(["ips", "dros:10"])
    [('ips', None), ('dros', 10.0)]
    """
    out: list[tuple[str, float | None]] = []
    for text in names:
        name, colon, number = text.strip().partition(":")
        if name not in NAMES:
            raise LogError(f"--estimators {text}: expected some of {', '.join(NAMES)}")
        try:
            parameter = float(number) if colon else None
        except ValueError:
            parameter = float("nan")
        if parameter is not None and (name not in TUNED or not parameter >= 0 or (name == "sub-gaussian" and parameter > 1)):
            raise LogError(f"--estimators {text}: a number that is not negative, of {', '.join(TUNED)} (sub-gaussian: at most 1)")
        out.append((name, parameter))
    return out


def evaluate(rounds: Rounds, settings: Settings, ranker: RewardModel | None = None) -> Evaluation:
    """Evaluate a policy among items. `ranker` (`RankerModel.predicted`) is called where it is to be q̂ and an estimator needs one.

    It is not called where the log supports none of those: coverage and propensities come first, since learning takes long. The direct
    method needs neither; it alone is worth the learning where it alone is asked for.
    """
    requested = _requested(settings, item_rounds.REWARDS, NAMES)
    policy = target_policy(settings.policy, rounds)
    families = {of: own for of, names in FAMILIES.items() if (own := [each for each in requested if each[0] in names])}
    modelled = {of: [name for name, _ in own if name not in MODEL_FREE] for of, own in families.items()}
    model = ranker if settings.q_hat == "ranker" and any(modelled.values()) else None
    if model and {name for names in modelled.values() for name in names} != {"dm"}:
        first = Estimation(rounds, policy, settings, unlearned)
        if rounds.mostly_rejected or all(first.unsupported(of) for of, names in modelled.items() if names):
            model = unlearned
    estimation = Estimation(rounds, policy, settings, model)
    return _evaluation(rounds, settings, [estimation.family(of, own) for of, own in families.items()])


def strategies(rounds: StrategyRounds, policy: TargetPolicy, settings: Settings) -> Evaluation:
    """Evaluate a policy among strategies; the model of the reward is a mean by segment and arm."""
    requested = _requested(settings, strategy_rounds.REWARDS, ITEMS)
    if settings.q_hat == "ranker":
        raise LogError("--q-hat ranker: it predicts what an item earns, not a strategy; pass out-of-time or cross-fitted")
    return _evaluation(rounds, settings, [Estimation(rounds, policy, settings, None, cells=True).family("strategies", requested)])


def _requested(settings: Settings, rewards: Sequence[str], names: Sequence[str]) -> list[tuple[str, float | None]]:
    if settings.reward not in rewards:
        raise LogError(f"--reward {settings.reward}: expected one of {', '.join(rewards)}")
    requested = parse_estimators(settings.estimators)
    if others := [name for name, _ in requested if name not in names]:
        raise LogError(f"--estimators {','.join(others)}: of lists of items; of strategies there are {', '.join(names)}")
    return requested


def _evaluation(rounds: LoggedRounds, settings: Settings, families: list[Family]) -> Evaluation:
    return Evaluation(
        policy=settings.policy, surface=rounds.surface, reward=settings.reward, q_hat=settings.q_hat, rows=len(rounds.arm),
        unseen=rounds.unseen, named=rounds.named, requests=len(rounds.request_ids), arms=len(rounds.arms),
        rejected=rounds.rejected, acts=rounds.acts, unjoined=rounds.unjoined, late=rounds.late, rounded=rounds.rounded,
        mostly_rejected=rounds.mostly_rejected,
        answers=all(family.answers for family in families), families=families,
    )  # fmt: skip


def prospects(rounds: Rounds) -> Iterator[str]:
    """What a log supports about other policies, and what it doesn't, in lines for people."""
    if not len(rounds.arm):
        yield "no: it shows nothing (no impression, no exposure), so no other policy can be evaluated"
        return
    if complaint := rounds.complaint():
        yield f"dm alone: {complaint}"
        return
    known = rounds.propensity[np.isfinite(rounds.propensity)]
    if not len(known):
        yield f"dm alone: none of {len(rounds.arm):,} shown items has a propensity"
        return
    least = float(known.min())
    yield f"{rounds.coverage:.1%} of {len(rounds.arm):,} shown items have a propensity, the least {least:.4g}: weights reach {reach(least)}"
    if rounds.coverage < verdict.LEAST_COVERAGE:
        yield f"dm alone: fewer than {verdict.LEAST_COVERAGE:.0%}; what is left may be another population"
    if np.ptp(known) <= UNIFORM_SLACK * known.max():
        yield "drawn uniformly: replay of deterministic policies too"
    exposures = np.bincount(rounds.arm, minlength=len(rounds.arms))
    yield f"{int((exposures > 0).sum()):,} of {len(rounds.arms):,} arms were shown; of the others it says nothing"
    if rounds.listed.any() and (coverage := conditional_coverage(rounds)) < verdict.LEAST_COVERAGE:
        yield f"lists: slot by slot (iips), not as a whole: {MARGINAL_ONLY.format(coverage)}"
    elif rounds.listed.any():
        yield f"lists: {len(set(rounds.request[rounds.listed].tolist())):,} requests with their slots (iips, rips, sips, cascade-dr)"
    else:
        yield "no requests are named: items by themselves, no lists"
    yield f"{rounds.join_rate:.1%} of {rounds.acts:,} acts found what they were about"
