"""Off-policy evaluation: what another policy would have earned, from a log.

Estimators look at items (each shown item a row), at slates (all items of a request together), or at strategies (each slate or page a row,
its strategy the arm). Each family has its own weights and its own verdict: where the log does not support an estimate there are no
figures, only the reasons.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bandit import bootstrap, estimators, reward_model, slate_estimators, slope, verdict
from bandit.bootstrap import Interval
from bandit.estimators import Ratios
from bandit.verdict import Diagnostics
from replay.log_rows import LogError
from replay.off_policy import rounds as item_rounds
from replay.off_policy import strategy_rounds
from replay.off_policy.policies import (
    LoggedProbabilities,
    TargetPolicy,
    expected_reward,
    marginal_probabilities,
    target_policy,
    without_replacement,
)
from replay.off_policy.rounds import LoggedRounds, Rounds
from replay.off_policy.strategy_rounds import StrategyRounds

Array = np.ndarray

ITEMS = ("replay", "ips", "snips", "dm", "dr", "sndr", "switch-dr", "dros", "clipped", "sub-gaussian")
SLOTS = ("iips",)
SLATES = ("sips", "rips", "cascade-dr")
NAMES = (*ITEMS, *SLOTS, *SLATES)
MODEL_FREE = ("replay", "ips", "snips", "clipped", "iips", "sips", "rips")
TUNED = {"switch-dr": slope.TAUS, "dros": slope.LAMBDAS, "clipped": slope.MOSTS, "sub-gaussian": slope.BENDS}
Q_HATS = ("cross-fitted", "out-of-time", "ranker")
LEVELS = {"items": ("full_play", "ranker"), "strategies": ("experience", "out-of-time")}  # reward and q̂ where none is named
# of a reward by its name: q̂ [N] of the logged arms, and q̂_π [K, N] by kind of probabilities
RewardModel = Callable[[Rounds, TargetPolicy, Sequence[LoggedProbabilities], str], tuple[Array, Array]]
MARGINAL_ONLY = "propensities hold whatever stands above an item; {:.1%} of slots have `propensity_given_above`, which whole lists need"
UNIFORM_SLACK = 1e-9  # relative: propensities of a uniform log


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a log is evaluated."""

    policy: str
    estimators: tuple[str, ...] = ITEMS  # each a name, or name:parameter
    reward: str = "full_play"
    q_hat: str = "ranker"
    seed: int = 1
    resamples: int = bootstrap.RESAMPLES


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What one estimator says; without an interval where it doesn't apply, and why in the note."""

    name: str
    interval: Interval | None
    more: Interval | None  # than the log's own policy earned, paired
    parameter: float | None = None
    by_slope: bool = False
    note: str = ""


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Estimators of one kind, with what they rest on."""

    of: str  # items, slots, lists or strategies
    diagnostics: Diagnostics
    answers: bool
    reasons: list[str]
    own: Interval  # what the log's own policy earned, on the rows used
    estimates: list[Estimate]
    weights: list[float]  # log10 of weights at their percentiles 1 to 100; -inf: 0


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
    answers: bool
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
    """Evaluate a policy among items. `ranker` (`RankerModel.predicted`) is called where it is to be q̂ and an estimator needs one."""
    requested = _requested(settings, item_rounds.REWARDS, NAMES)
    policy = target_policy(settings.policy, rounds)
    modelled = any(name not in MODEL_FREE for name, _ in requested)
    estimation = Estimation(rounds, policy, settings, ranker if settings.q_hat == "ranker" and modelled else None)
    families = [
        estimation.family(of, own)
        for of, names in (("items", ITEMS), ("slots", SLOTS), ("lists", SLATES))
        if (own := [each for each in requested if each[0] in names])
    ]
    return _evaluation(rounds, settings, families)


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
        rejected=rounds.rejected, acts=rounds.acts, unjoined=rounds.unjoined, late=rounds.late,
        answers=all(family.answers for family in families), families=families,
    )  # fmt: skip


class WeightedRounds(NamedTuple):
    """Rounds weighed by one kind of propensities; shapes: N."""

    propensity: Array
    usable: Array  # bool: it has one
    w: Array
    q_policy: Array


class Run(NamedTuple):
    """An estimator with its parameter, on the rows used."""

    name: str
    parameter: float | None
    by_slope: bool
    ratios: Ratios | None  # None where it doesn't apply
    note: str = ""


class Estimation:
    """A policy's estimates from a log; shapes: N rounds, K kinds of probabilities."""

    def __init__(
        self, rounds: LoggedRounds, policy: TargetPolicy, settings: Settings, ranker: RewardModel | None, cells: bool = False
    ) -> None:
        """`ranker`: q̂; without, q̂ is a mean by arm and position (`cells`: of each pair by itself)."""
        self.rounds, self.settings, self.cells, self.policy = rounds, settings, cells, policy
        whole = without_replacement(policy, rounds)
        kinds = [marginal_probabilities(policy, rounds), whole] if rounds.marginal else [whole]
        self.reward = rounds.reward(settings.reward)
        _, self.place = np.unique(rounds.position, return_inverse=True)
        self.q, q_policy = ranker(rounds, policy, kinds, settings.reward) if ranker and isinstance(rounds, Rounds) else self._model(kinds)
        weighted = [
            _weighted(kind, p, q) for kind, p, q in zip(kinds, (rounds.propensity, rounds.conditional_propensity), q_policy, strict=False)
        ]
        self.rows, self.slates = weighted[0], weighted[-1]  # the same where a log has one kind

    def _model(self, kinds: Sequence[LoggedProbabilities]) -> tuple[Array, Array]:
        """q̂ [N] of the logged arm and q̂_π [K, N]; fitted to all rounds, with a propensity or without."""
        rounds, by_time = self.rounds, self.settings.q_hat == "out-of-time"
        request = rounds.request
        fold = reward_model.time_blocks(request, rounds.ts) if by_time else reward_model.random_folds(request, self.settings.seed)
        places = int(self.place.max(initial=0)) + 1
        log = reward_model.LoggedRewards(rounds.arm, self.place, self.reward, len(rounds.arms), places)
        fitted = reward_model.fitted(log, fold, by_time, self.cells)
        group = fold * places + self.place
        flat = fitted.reshape(len(fitted) * places, len(rounds.arms))
        logged = flat[group, rounds.arm] if len(group) else np.zeros(0)
        return logged, np.stack([expected_reward(self.policy, kind, rounds, flat, group) for kind in kinds])

    def family(self, of: str, requested: list[tuple[str, float | None]]) -> Family:
        """Estimates of one kind, if the log can give them."""
        return self._slates(of, requested) if of in ("slots", "lists") else self._rows(of, requested)

    def _rows(self, of: str, requested: list[tuple[str, float | None]]) -> Family:
        rows = self.rows
        at = np.flatnonzero(rows.usable)
        w, r, q, q_policy, p = (column[at] for column in (rows.w, self.reward, self.q, rows.q_policy, rows.propensity))
        _, cluster = np.unique(self.rounds.request[at], return_inverse=True)
        uniform = bool(len(p)) and float(np.ptp(p)) <= UNIFORM_SLACK * float(p.max())
        runs: list[Run] = []
        for name, parameter in requested:
            if name == "replay" and not (self.policy.deterministic and uniform):
                why = "the log was not drawn uniformly" if self.policy.deterministic else "the policy is not deterministic"
                runs.append(Run(name, parameter, False, None, f"{why}: no estimate"))
                continue
            build = _item_estimator(name, w, r, q, q_policy)
            by_slope = name in TUNED and parameter is None
            if by_slope and len(at):
                candidates = [build(each) for each in TUNED[name]]
                widths = [bootstrap.half_width(ratios, cluster) for ratios in candidates]
                parameter = TUNED[name][slope.slope([estimators.value(ratios) for ratios in candidates], widths)]
            note = "the interval leaves out the error of q̂" if name == "dm" else ""
            runs.append(Run(name, parameter, by_slope, build(parameter if parameter is not None else 0.0), note))
        return self._family(of, w, self.rounds.coverage, cluster, estimators.ips(np.ones(len(r)), r), runs)

    def _slates(self, of: str, requested: list[tuple[str, float | None]]) -> Family:
        weighted = self.slates if of == "lists" else self.rows
        at, usable = _padded(self.rounds)
        whole = ~(usable & ~weighted.usable[at]).any(1)
        coverage = float(whole.mean()) if len(whole) else 0.0
        at, usable = at[whole], usable[whole]
        w, r, q, q_policy = (
            column[at] if len(at) else np.zeros(at.shape) for column in (weighted.w, self.reward, self.q, weighted.q_policy)
        )
        ones = np.ones(len(at))
        each = {"iips": slate_estimators.iips, "sips": slate_estimators.sips, "rips": slate_estimators.rips}
        runs: list[Run] = []
        for name, parameter in requested:
            adds = each[name](w, r, usable) if name in each else slate_estimators.cascade_dr(w, r, q, q_policy, usable)
            runs.append(Run(name, parameter, False, [(adds, ones)]))
        if of == "slots":
            weights = w[usable]
        else:
            weights = slate_estimators.cumulative(w, usable)[:, -1] if len(at) else ones
        return self._family(of, weights, coverage, np.arange(len(at)), [((r * usable).sum(1), ones)], runs)

    def _family(self, of: str, w: Array, coverage: float, cluster: Array, own: Ratios, runs: list[Run]) -> Family:
        """The family's verdict, and its estimates where that allows any. `own`: what the log's own policy earned."""
        weighted = self.slates if of == "lists" else self.rows
        diagnostics = verdict.diagnostics(w, coverage, _unseen(self.policy, self.rounds, weighted.usable), self.rounds.join_rate)
        reasons, settings = self._reasons(of, diagnostics), self.settings
        ratios = [run.ratios for run in runs if run.ratios is not None] if not reasons else []
        read = bootstrap.estimates([own, *ratios], cluster, settings.resamples, settings.seed)
        columns = iter(read.T[1:])
        estimates = []
        for run in runs if not reasons else []:
            value = more = None
            if run.ratios is not None:
                column = next(columns)
                value = bootstrap.interval(column, run.ratios, cluster)
                more = bootstrap.interval(column - read[:, 0], bootstrap.difference(run.ratios, own), cluster)
            estimates.append(
                Estimate(name=run.name, parameter=run.parameter, by_slope=run.by_slope, note=run.note, interval=value, more=more)
            )
        with np.errstate(divide="ignore"):
            spread = np.log10(np.percentile(w, np.arange(1, 101))).tolist() if len(w) else []
        return Family(
            of=of, diagnostics=diagnostics, answers=not reasons, reasons=reasons,
            own=bootstrap.interval(read[:, 0], own, cluster), estimates=estimates, weights=spread,
        )  # fmt: skip

    def _reasons(self, of: str, diagnostics: Diagnostics) -> list[str]:
        """Why the log supports no estimate of this family."""
        complaint = self.rounds.complaint()
        if of in ("slots", "lists") and not self.rounds.listed.any():
            return ["the log names no requests: there are no lists to judge"]
        if complaint:
            return [complaint]
        if of == "lists" and (coverage := _conditional_coverage(self.rounds)) < verdict.LEAST_COVERAGE:
            return [MARGINAL_ONLY.format(coverage)]
        return list(verdict.reasons(diagnostics))


def _weighted(logged: LoggedProbabilities, propensity: Array, q_policy: Array) -> WeightedRounds:
    with np.errstate(invalid="ignore"):
        return WeightedRounds(propensity, np.isfinite(propensity), logged.probability / propensity, q_policy)


def _item_estimator(name: str, w: Array, r: Array, q: Array, q_policy: Array) -> Callable[[float], Ratios]:
    """The estimator as a function of its parameter, where it has one."""
    by_name: dict[str, Callable[[float], Ratios]] = {
        "replay": lambda _: estimators.replay(r, w > 0),
        "ips": lambda _: estimators.ips(w, r),
        "snips": lambda _: estimators.snips(w, r),
        "dm": lambda _: estimators.dm(q_policy),
        "dr": lambda _: estimators.dr(w, r, q, q_policy),
        "sndr": lambda _: estimators.sndr(w, r, q, q_policy),
        "switch-dr": lambda tau: estimators.dr(estimators.switched(w, tau), r, q, q_policy),
        "dros": lambda lam: estimators.dr(estimators.shrunk(w, lam), r, q, q_policy),
        "clipped": lambda most: estimators.ips(estimators.clipped(w, most), r),
        "sub-gaussian": lambda lam: estimators.dr(estimators.sub_gaussian(w, lam), r, q, q_policy),
    }
    return by_name[name]


def _conditional_coverage(rounds: LoggedRounds) -> float:
    """Share of the marginal propensities that have a conditional one beside them."""
    known = np.isfinite(rounds.propensity) & rounds.listed
    return float(np.isfinite(rounds.conditional_propensity[known]).mean()) if rounds.marginal and known.any() else 1.0


def _unseen(policy: TargetPolicy, rounds: LoggedRounds, usable: Array) -> float:
    """Share of the policy's mass on arms that no usable round shows."""
    seen = np.zeros(len(rounds.arms), bool)
    seen[rounds.arm[usable]] = True
    by_context = policy.table @ ~seen
    return float(by_context[policy.context[usable]].mean()) if usable.any() else 0.0


def _padded(rounds: LoggedRounds) -> tuple[Array, Array]:
    """Rounds of requests with an id as slates [S, L] by position, and a mask of what each has."""
    order = rounds.order[rounds.listed[rounds.order]]
    if not len(order):
        return np.zeros((0, 1), np.int64), np.zeros((0, 1), bool)
    _, starts, sizes = np.unique(rounds.request[order], return_index=True, return_counts=True)
    place = np.arange(int(sizes.max()))
    filled = place < sizes[:, None]
    return order[np.where(filled, starts[:, None] + place, starts[:, None])], filled


def prospects(rounds: Rounds) -> Iterator[str]:
    """What a log supports about other policies, and what it doesn't, in lines for people."""
    if not len(rounds.arm):
        yield "no: it shows nothing (no impression, no exposure), so no other policy can be judged"
        return
    if complaint := rounds.complaint():
        yield f"no: {complaint}"
        return
    known = rounds.propensity[np.isfinite(rounds.propensity)]
    if not len(known):
        yield f"no: none of {len(rounds.arm):,} shown items has a propensity, so no other policy can be judged"
        return
    reach = f"the least {known.min():.4g}: weights reach {1 / known.min():,.4g}"
    yield f"{rounds.coverage:.1%} of {len(rounds.arm):,} shown items have a propensity, {reach}"
    if rounds.coverage < verdict.LEAST_COVERAGE:
        yield f"no: fewer than {verdict.LEAST_COVERAGE:.0%}; what is left may be another population"
    if np.ptp(known) <= UNIFORM_SLACK * known.max():
        yield "drawn uniformly: replay of deterministic policies too"
    exposures = np.bincount(rounds.arm, minlength=len(rounds.arms))
    yield f"{int((exposures > 0).sum()):,} of {len(rounds.arms):,} arms were shown; of the others it says nothing"
    if rounds.listed.any() and (coverage := _conditional_coverage(rounds)) < verdict.LEAST_COVERAGE:
        yield f"lists: slot by slot (iips), not as a whole: {MARGINAL_ONLY.format(coverage)}"
    elif rounds.listed.any():
        yield f"lists: {len(set(rounds.request[rounds.listed].tolist())):,} requests with their slots (iips, rips, sips, cascade-dr)"
    else:
        yield "no requests are named: items by themselves, no lists"
    yield f"{rounds.join_rate:.1%} of {rounds.acts:,} acts found what they were about"
