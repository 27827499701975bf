"""A policy's estimates from the rounds of a log, by family and estimator, each with a verdict of its own.

Estimators look at items (each shown item a row), at slates (all items of a request together), or at strategies (each slate or page a row,
its strategy the arm). Each family has its own weights. An estimator is refused where what it rests on does not support it: weights as it
changes them, or, for the direct method, arms with rewards in the log. What the log's own policy earned is of all rows.
Shapes: N rounds, K kinds of probabilities.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from bandit import bootstrap, estimators, reward_model, slate_estimators, slope, verdict
from bandit.bootstrap import Interval
from bandit.estimators import Ratios
from bandit.verdict import Diagnostics
from replay.off_policy.policies import (
    LoggedProbabilities,
    TargetPolicy,
    expected_reward,
    marginal_probabilities,
    without_replacement,
)
from replay.off_policy.rounds import LoggedRounds, Rounds

Array = np.ndarray

ITEMS = ("replay", "ips", "snips", "dm", "dr", "sndr", "switch-dr", "dros", "clipped", "sub-gaussian")
SLOTS = ("iips",)
SLATES = ("sips", "rips", "cascade-dr")
MODEL_FREE = ("replay", "ips", "snips", "clipped", "iips", "sips", "rips")
TUNED = {"switch-dr": slope.TAUS, "dros": slope.LAMBDAS, "clipped": slope.MOSTS, "sub-gaussian": slope.BENDS}
CHANGED: dict[str, Callable[[Array, float], Array]] = {
    "switch-dr": estimators.switched, "dros": estimators.shrunk, "clipped": estimators.clipped, "sub-gaussian": estimators.sub_gaussian,
}  # fmt: skip
# of a reward by its name: q̂ [N] of the logged arms, and q̂_π [K, N] by kind of probabilities
RewardModel = Callable[[Rounds, TargetPolicy, Sequence[LoggedProbabilities], str], tuple[Array, Array]]
MARGINAL_ONLY = "propensities hold whatever stands above an item; {:.1%} of slots have `propensity_given_above`, which whole lists need"
NOT_LEARNED = "not estimated, since nothing else can be and a ranker would have to learn for it: --estimators dm"
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
    """What one estimator says. Without an interval where it is refused (why: `reasons`) or doesn't apply (why: `note`)."""

    name: str
    interval: Interval | None
    more: Interval | None  # than the log's own policy earned, paired
    parameter: float | None = None
    by_slope: bool = False
    note: str = ""  # what limits it
    reasons: list[str] = []


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """Estimators of one kind, with what they rest on."""

    of: str  # items, slots, lists or strategies
    diagnostics: Diagnostics  # of the weights as they are
    answers: bool  # no estimator is refused
    reasons: list[str]  # of all that are
    own: Interval  # what the log's own policy earned, on all rows
    estimates: list[Estimate]
    weights: list[float]  # log10 of weights at their percentiles 1 to 100; -inf: 0


class WeightedRounds(NamedTuple):
    """Rounds weighed by one kind of propensities; shapes: N."""

    propensity: Array
    usable: Array  # bool: it has one
    w: Array
    q_policy: Array


class Run(NamedTuple):
    """An estimator with its parameter, on all rows."""

    name: str
    parameter: float | None = None
    by_slope: bool = False
    ratios: Ratios | None = None  # None where it is refused or doesn't apply
    note: str = ""
    reasons: Sequence[str] = ()


def unlearned(rounds: Rounds, policy: TargetPolicy, kinds: Sequence[LoggedProbabilities], reward: str) -> tuple[Array, Array]:
    """A model of the reward that stands for the ranker where the log supports no estimator that would rest on it."""
    return np.zeros(len(rounds.arm)), np.zeros((len(kinds), len(rounds.arm)))


class Estimation:
    """A policy's estimates from a log."""

    def __init__(
        self, rounds: LoggedRounds, policy: TargetPolicy, settings: Settings, ranker: RewardModel | None, cells: bool = False
    ) -> None:
        """`ranker`: q̂; without, q̂ is a mean by arm and position (`cells`: of each pair by itself)."""
        self.rounds, self.settings, self.cells, self.policy = rounds, settings, cells, policy
        self.learned = ranker is not unlearned
        whole = without_replacement(policy, rounds)
        kinds = [marginal_probabilities(policy, rounds), whole] if rounds.marginal else [whole]
        self.reward = rounds.reward(settings.reward)
        _, self.place = np.unique(rounds.position, return_inverse=True)
        self.q, q_policy = ranker(rounds, policy, kinds, settings.reward) if ranker and isinstance(rounds, Rounds) else self._model(kinds)
        weighted = [
            WeightedRounds(p, np.isfinite(p), estimators.weights(kind.probability, p), q)
            for kind, p, q in zip(kinds, (rounds.propensity, rounds.conditional_propensity), q_policy, strict=False)
        ]
        self.rows, self.slates = weighted[0], weighted[-1]  # the same where a log has one kind

    def unsupported(self, of: str) -> bool:
        """Whether all estimators of a family that weigh rounds are refused, whatever they make of the weights."""
        usable = self.rows.usable
        best = Diagnostics(
            n=int(usable.sum()), mean_weight=1.0, ess=np.inf, max_weight=1.0, top_share=0.0, coverage=self.rounds.coverage,
            unseen=_unseen(self.policy, self.rounds, usable), join_rate=1.0,
        )  # fmt: skip
        return bool(self._refusals(of, best))

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
        """Estimates of one kind, of each estimator that the log supports."""
        return self._slates(of, requested) if of in ("slots", "lists") else self._rows(of, requested)

    def _rows(self, of: str, requested: list[tuple[str, float | None]]) -> Family:
        rows, n = self.rows, len(self.reward)
        at = np.flatnonzero(rows.usable)
        w, r, q, q_policy, p = (column[at] for column in (rows.w, self.reward, self.q, rows.q_policy, rows.propensity))
        _, cluster = np.unique(self.rounds.request[at], return_inverse=True)
        uniform = bool(len(p)) and float(np.ptp(p)) <= UNIFORM_SLACK * float(p.max())
        diagnostics = self._diagnostics(w, self.rounds.coverage, rows.usable)
        runs: list[Run] = []
        for name, parameter in requested:
            if name == "dm":
                runs.append(self._direct(rows.q_policy))
                continue
            refusals = self._refusals(of, diagnostics)
            if name == "replay" and not self.policy.deterministic:
                runs.append(Run(name, note="the policy is not deterministic: no estimate"))
                continue
            if name == "replay" and not (refusals or uniform):
                runs.append(Run(name, note="the log was not drawn uniformly: no estimate"))
                continue
            build = _item_estimator(name, w, r, q, q_policy)
            by_slope = name in TUNED and parameter is None
            if by_slope and len(at):
                candidates = [build(each) for each in TUNED[name]]
                widths = [bootstrap.half_width(ratios, cluster) for ratios in candidates]
                parameter = TUNED[name][slope.slope([estimators.value(ratios) for ratios in candidates], widths)]
            note = ""
            if name in CHANGED and parameter is not None:
                changed = CHANGED[name](w, parameter)
                refusals = self._refusals(of, diagnostics, self._diagnostics(changed, self.rounds.coverage, rows.usable))
                note = _limit(name, parameter, w, changed)
            ratios = None if refusals else _scattered(build(parameter if parameter is not None else 0.0), at, n)
            runs.append(Run(name, parameter, by_slope, ratios, "" if refusals else note, refusals))
        _, every = np.unique(self.rounds.request, return_inverse=True)
        return self._family(of, diagnostics, w, every, estimators.ips(np.ones(n), self.reward), runs)

    def _direct(self, q_policy: Array) -> Run:
        """The direct method, which needs no propensity: q̂_π on all rows."""
        rounds = self.rounds
        every = np.ones(len(rounds.arm), bool)
        refusals = list(verdict.unseen(_unseen(self.policy, rounds, every)))
        if not len(rounds.arm):
            refusals = [rounds.complaint() or "the log shows nothing: it has no impression and no exposure"]
        if not (self.learned or refusals):
            return Run("dm", note=NOT_LEARNED)
        return Run(
            "dm", ratios=None if refusals else estimators.dm(q_policy), note="the interval leaves out the error of q̂", reasons=refusals
        )

    def _slates(self, of: str, requested: list[tuple[str, float | None]]) -> Family:
        weighted = self.slates if of == "lists" else self.rows
        every, filled = _padded(self.rounds)
        rewards = (self.reward[every] * filled).sum(1) if len(every) else np.zeros(0)
        whole = ~(filled & ~weighted.usable[every]).any(1) if len(every) else np.zeros(0, bool)
        at, usable = every[whole], filled[whole]
        w, r, q, q_policy = (
            column[at] if len(at) else np.zeros(at.shape) for column in (weighted.w, self.reward, self.q, weighted.q_policy)
        )
        ones = np.ones(len(at))
        if of == "slots":
            weights = w[usable]
        else:
            weights = slate_estimators.cumulative(w, usable)[:, -1] if len(at) else ones
        diagnostics = self._diagnostics(weights, float(whole.mean()) if len(whole) else 0.0, weighted.usable)
        refusals = self._refusals(of, diagnostics)
        each = {"iips": slate_estimators.iips, "sips": slate_estimators.sips, "rips": slate_estimators.rips}
        runs: list[Run] = []
        for name, parameter in requested:
            adds = each[name](w, r, usable) if name in each else slate_estimators.cascade_dr(w, r, q, q_policy, usable)
            ratios = None if refusals else _scattered([(adds, ones)], np.flatnonzero(whole), len(every))
            runs.append(Run(name, parameter, ratios=ratios, reasons=refusals))
        return self._family(of, diagnostics, weights, np.arange(len(every)), estimators.ips(np.ones(len(every)), rewards), runs)

    def _diagnostics(self, w: Array, coverage: float, usable: Array) -> Diagnostics:
        return verdict.diagnostics(w, coverage, _unseen(self.policy, self.rounds, usable), self.rounds.join_rate)

    def _family(self, of: str, diagnostics: Diagnostics, w: Array, cluster: Array, own: Ratios, runs: list[Run]) -> Family:
        """`own`: what the log's own policy earned."""
        settings = self.settings
        read = bootstrap.estimates(
            [own, *(run.ratios for run in runs if run.ratios is not None)], cluster, settings.resamples, settings.seed
        )
        columns = iter(read.T[1:])
        estimates = []
        for run in runs:
            value = more = None
            if run.ratios is not None:
                column = next(columns)
                value = bootstrap.interval(column, run.ratios, cluster)
                more = bootstrap.interval(column - read[:, 0], bootstrap.difference(run.ratios, own), cluster)
            estimates.append(
                Estimate(
                    name=run.name, parameter=run.parameter, by_slope=run.by_slope, note=run.note, interval=value, more=more,
                    reasons=[*run.reasons],
                )
            )  # fmt: skip
        with np.errstate(divide="ignore"):
            spread = np.log10(np.percentile(w, np.arange(1, 101))).tolist() if len(w) else []
        reasons = list(dict.fromkeys(reason for run in runs for reason in run.reasons))
        return Family(
            of=of, diagnostics=diagnostics, answers=not reasons, reasons=reasons,
            own=bootstrap.interval(read[:, 0], own, cluster), estimates=estimates, weights=spread,
        )  # fmt: skip

    def _refusals(self, of: str, log: Diagnostics, used: Diagnostics | None = None) -> list[str]:
        """Why the log supports no estimate of this family that rests on such weights; `used`: as an estimator changes them."""
        rounds = self.rounds
        if of in ("slots", "lists") and not rounds.listed.any():
            return ["the log names no requests, so it has no lists"]
        if complaint := rounds.complaint():
            return [complaint]
        if of == "lists" and (coverage := conditional_coverage(rounds)) < verdict.LEAST_COVERAGE:
            return [MARGINAL_ONLY.format(coverage)]
        missing = f" (`propensity` is missing in {rounds.missing[0]:,} rows, first in line {rounds.missing[1]:,})" if rounds.missing else ""
        found = list(verdict.reasons(log, used))
        return [found[0] + missing, *found[1:]] if found and log.coverage < verdict.LEAST_COVERAGE else found


def _scattered(ratios: Ratios, at: Array, n: int) -> Ratios:
    """Ratios over some rows as ratios over all [N]; the others add nothing."""
    if len(at) == n:
        return ratios
    out = []
    for pair in ratios:
        numerator, denominator = np.zeros(n), np.zeros(n)
        numerator[at], denominator[at] = pair
        out.append((numerator, denominator))
    return out


def _limit(name: str, parameter: float, w: Array, changed: Array) -> str:
    """What an estimate rests on where it changes weights; nothing where it changes none."""
    rows = int((changed != w).sum())
    if not rows:
        return ""
    if name == "switch-dr":
        return f"{rows:,} rows with a weight above {parameter:g} rest on q̂ alone"
    mean = verdict.figure(float(changed.mean()))
    if name == "clipped":
        cut = f"{rows:,} rows with a weight above {parameter:g} are cut there"
        return f"{cut}; the mean weight is {mean}, what lacks is bias"
    return f"weights are at most {verdict.figure(float(changed.max()))} and {mean} in the mean; what lacks rests on q̂"


def _item_estimator(name: str, w: Array, r: Array, q: Array, q_policy: Array) -> Callable[[float], Ratios]:
    """The estimator as a function of its parameter, where it has one."""
    by_name: dict[str, Callable[[float], Ratios]] = {
        "replay": lambda _: estimators.replay(r, w > 0),
        "ips": lambda _: estimators.ips(w, r),
        "snips": lambda _: estimators.snips(w, r),
        "dr": lambda _: estimators.dr(w, r, q, q_policy),
        "sndr": lambda _: estimators.sndr(w, r, q, q_policy),
        "switch-dr": lambda tau: estimators.dr(estimators.switched(w, tau), r, q, q_policy),
        "dros": lambda lam: estimators.dr(estimators.shrunk(w, lam), r, q, q_policy),
        "clipped": lambda most: estimators.ips(estimators.clipped(w, most), r),
        "sub-gaussian": lambda lam: estimators.dr(estimators.sub_gaussian(w, lam), r, q, q_policy),
    }
    return by_name[name]


def conditional_coverage(rounds: LoggedRounds) -> float:
    """Share of the marginal propensities that have a conditional one beside them."""
    known = np.isfinite(rounds.propensity) & rounds.listed
    return float(np.isfinite(rounds.conditional_propensity[known]).mean()) if rounds.marginal and known.any() else 1.0


def _unseen(policy: TargetPolicy, rounds: LoggedRounds, usable: Array) -> float:
    """Share of the policy's probability on arms that no usable round shows."""
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
