"""What another policy would have earned, from a log: read it, weigh it, estimate, and say where it cannot answer.

Estimators look at items (each shown item a row of its own), at lists (all slots of a request together), or at strategies (each list
or page a row, what made it the arm). Each family has weights of its own, and its own verdict; where the log cannot answer there are no
figures, only the reason.
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
from replay.off_policy.policies import Chances, Down, by_place, chances, down, expected
from replay.off_policy.rounds import Drawn, Rounds
from replay.off_policy.strategy_rounds import StrategyRounds

Array = np.ndarray
Made = tuple[str, float | None, bool, Ratios | None, str]  # name, parameter, by SLOPE?, what it is made of, note

ITEMS = ("replay", "ips", "snips", "dm", "dr", "sndr", "switch-dr", "dros", "clipped", "sub-gaussian")
SLOTS = ("iips",)
LISTS = ("sips", "rips", "cascade-dr")
NAMES = (*ITEMS, *SLOTS, *LISTS)
MODEL_FREE = ("replay", "ips", "snips", "clipped", "iips", "sips", "rips")
TUNED = {"switch-dr": slope.TAUS, "dros": slope.LAMBDAS, "clipped": slope.MOSTS, "sub-gaussian": slope.BENDS}
Q_HATS = ("cross-fitted", "out-of-time", "ranker")
LEVELS = {"items": ("full_play", "ranker"), "strategies": ("experience", "out-of-time")}  # reward and q̂ where none is named
Predicted = Callable[[Rounds, Chances, Sequence[Down]], tuple[Array, Array]]  # q̂ [N] and q̂_π [W, N] by way
WHATEVER_ABOVE = "propensities hold whatever stands above an item; {:.1%} of slots have `propensity_given_above`, which whole lists need"
SAME = 1e-9  # relative: propensities of a uniform log


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a log is evaluated."""

    policy: str
    estimators: tuple[str, ...] = ITEMS  # each a name, or name:parameter
    reward: str = "full_play"
    q_hat: str = "ranker"
    seed: int = 1
    resamples: int = bootstrap.RESAMPLES


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """One estimator's answer; without a value where it has none, and why."""

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
    """Everything that was found."""

    policy: str
    surface: str | None  # of strategies: page or list
    reward: str
    q_hat: str
    rows: int
    unseen: int  # lists left out, since they were on no screen as far as is known
    named: int  # lists left out, since their request named the strategy: it had no chance
    requests: int
    arms: int
    rejected: int
    acts: int
    unjoined: int
    late: int
    answers: bool
    families: list[Family]


def asked(names: Sequence[str]) -> list[tuple[str, float | None]]:
    """`name` or `name:parameter` each."""
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


def evaluate(rounds: Rounds, settings: Settings, ranker: Predicted | None = None) -> Evaluation:
    """Judge a policy by items. `ranker`: of replay/off_policy/ranker_model.py, asked where it is to be q̂ and an estimator needs one."""
    wanted = _wanted(settings, item_rounds.REWARDS, NAMES)
    policy = chances(settings.policy, rounds)
    modelled = any(name not in MODEL_FREE for name, _ in wanted)
    used = Used(rounds, policy, settings, ranker if settings.q_hat == "ranker" and modelled else None)
    families = [
        family
        for of, names in (("items", ITEMS), ("slots", SLOTS), ("lists", LISTS))
        if (chosen := [each for each in wanted if each[0] in names])
        for family in [used.family(of, chosen)]
    ]
    return _told(rounds, settings, families)


def strategies(rounds: StrategyRounds, policy: Chances, settings: Settings) -> Evaluation:
    """Judge a policy among strategies; the model of the reward is a mean by segment and arm."""
    wanted = _wanted(settings, strategy_rounds.REWARDS, ITEMS)
    if settings.q_hat == "ranker":
        raise LogError("--q-hat ranker: it predicts what an item earns, not a strategy; pass out-of-time or cross-fitted")
    return _told(rounds, settings, [Used(rounds, policy, settings, None, cells=True).family("strategies", wanted)])


def _wanted(settings: Settings, rewards: Sequence[str], names: Sequence[str]) -> list[tuple[str, float | None]]:
    if settings.reward not in rewards:
        raise LogError(f"--reward {settings.reward}: expected one of {', '.join(rewards)}")
    wanted = asked(settings.estimators)
    if others := [name for name, _ in wanted if name not in names]:
        raise LogError(f"--estimators {','.join(others)}: of lists of items; of strategies there are {', '.join(names)}")
    return wanted


def _told(rounds: Rounds | StrategyRounds, settings: Settings, families: list[Family]) -> Evaluation:
    of = rounds if isinstance(rounds, StrategyRounds) else None
    return Evaluation(
        policy=settings.policy, surface=of.surface if of else None, reward=settings.reward, q_hat=settings.q_hat, rows=len(rounds.arm),
        unseen=of.unseen if of else 0, named=of.named if of else 0, requests=len(rounds.request_ids), arms=len(rounds.arms),
        rejected=rounds.rejected, acts=rounds.acts, unjoined=rounds.unjoined, late=rounds.late,
        answers=all(family.answers for family in families), families=families,
    )  # fmt: skip


class Weighed(NamedTuple):
    """Rounds against one kind of propensities; shapes: N."""

    propensity: Array
    there: Array  # bool
    w: Array
    q_policy: Array


class Used:
    """The rounds that have a propensity, weighed; shapes: N of them."""

    def __init__(self, rounds: Drawn, policy: Chances, settings: Settings, ranker: Predicted | None, cells: bool = False) -> None:
        """`ranker`: the model; without, means by arm and position (`cells`: of each pair by itself)."""
        self.rounds, self.settings, self.cells, self.policy = rounds, settings, cells, policy
        whole = down(policy, rounds)
        ways = [by_place(policy, rounds), whole] if rounds.marginal else [whole]
        self.reward = rounds.reward(settings.reward)
        _, self.place = np.unique(rounds.position, return_inverse=True)
        self.q, q_policy = ranker(rounds, policy, ways) if ranker and isinstance(rounds, Rounds) else self._model(ways)
        weighed = [_weighed(way, p, q) for way, p, q in zip(ways, (rounds.propensity, rounds.above), q_policy, strict=False)]
        self.rows, self.lists = weighed[0], weighed[-1]  # the same where a log has one kind

    def _model(self, ways: Sequence[Down]) -> tuple[Array, Array]:
        """q̂ [N] of the logged arm and q̂_π [W, N], of all rounds; learned where there is a propensity or not."""
        rounds, by_time = self.rounds, self.settings.q_hat == "out-of-time"
        request = rounds.request
        fold = reward_model.time_blocks(request, rounds.ts) if by_time else reward_model.random_folds(request, self.settings.seed)
        places = int(self.place.max(initial=0)) + 1
        log = reward_model.LoggedRewards(rounds.arm, self.place, self.reward, len(rounds.arms), places)
        fitted = reward_model.fitted(log, fold, by_time, self.cells)
        group = fold * places + self.place
        flat = fitted.reshape(len(fitted) * places, len(rounds.arms))
        logged = flat[group, rounds.arm] if len(group) else np.zeros(0)
        return logged, np.stack([expected(self.policy, way, rounds, flat, group) for way in ways])

    def family(self, of: str, wanted: list[tuple[str, float | None]]) -> Family:
        """Estimates of one kind, if the log can give them."""
        return self._lists(of, wanted) if of in ("slots", "lists") else self._rows(of, wanted)

    def _rows(self, of: str, wanted: list[tuple[str, float | None]]) -> Family:
        rows = self.rows
        at = np.flatnonzero(rows.there)
        w, r, q, q_policy, p = (column[at] for column in (rows.w, self.reward, self.q, rows.q_policy, rows.propensity))
        _, cluster = np.unique(self.rounds.request[at], return_inverse=True)
        uniform = bool(len(p)) and float(np.ptp(p)) <= SAME * float(p.max())
        made: list[Made] = []
        for name, parameter in wanted:
            if name == "replay" and not (self.policy.deterministic and uniform):
                why = "the log was not drawn uniformly" if self.policy.deterministic else "the policy is not deterministic"
                made.append((name, parameter, False, None, f"{why}: no estimate"))
                continue
            build = _of_items(name, w, r, q, q_policy)
            by_slope = name in TUNED and parameter is None
            if by_slope and len(at):
                candidates = [build(each) for each in TUNED[name]]
                widths = [bootstrap.half_width(ratios, cluster) for ratios in candidates]
                parameter = TUNED[name][slope.slope([estimators.value(ratios) for ratios in candidates], widths)]
            note = "the interval leaves out the error of q̂" if name == "dm" else ""
            made.append((name, parameter, by_slope, build(parameter if parameter is not None else 0.0), note))
        return self._family(of, w, self.rounds.coverage, cluster, estimators.ips(np.ones(len(r)), r), made)

    def _lists(self, of: str, wanted: list[tuple[str, float | None]]) -> Family:
        by = self.lists if of == "lists" else self.rows
        at, there = _padded(self.rounds)
        whole = ~(there & ~by.there[at]).any(1)
        coverage = float(whole.mean()) if len(whole) else 0.0
        at, there = at[whole], there[whole]
        w, r, q, q_policy = (column[at] if len(at) else np.zeros(at.shape) for column in (by.w, self.reward, self.q, by.q_policy))
        ones = np.ones(len(at))
        each = {"iips": slate_estimators.iips, "sips": slate_estimators.sips, "rips": slate_estimators.rips}
        made: list[Made] = []
        for name, parameter in wanted:
            adds = each[name](w, r, there) if name in each else slate_estimators.cascade_dr(w, r, q, q_policy, there)
            made.append((name, parameter, False, [(adds, ones)], ""))
        if of == "slots":
            weights = w[there]
        else:
            weights = slate_estimators.cumulative(w, there)[:, -1] if len(at) else ones
        return self._family(of, weights, coverage, np.arange(len(at)), [((r * there).sum(1), ones)], made)

    def _family(self, of: str, w: Array, coverage: float, cluster: Array, own: Ratios, made: list[Made]) -> Family:
        by = self.lists if of == "lists" else self.rows
        found = verdict.diagnostics(w, coverage, _unseen(self.policy, self.rounds, by.there), self.rounds.join_rate)
        complaint = self.rounds.complaint()
        if of in ("slots", "lists") and not self.rounds.listed.any():
            reasons = ["the log names no requests: there are no lists to judge"]
        elif of == "lists" and not complaint and (given := _given_above(self.rounds)) < verdict.LEAST_COVERAGE:
            reasons = [WHATEVER_ABOVE.format(given)]
        else:
            reasons = [complaint] if complaint else list(verdict.reasons(found))
        settings, estimates = self.settings, []
        there = [ratios for *_, ratios, _ in made if ratios is not None] if not reasons else []
        read = bootstrap.estimates([own, *there], cluster, settings.resamples, settings.seed)
        column = 0
        for name, parameter, by_slope, ratios, note in made if not reasons else []:
            value = more = None
            if ratios is not None:
                column += 1
                value = bootstrap.interval(read[:, column], ratios, cluster)
                more = bootstrap.interval(read[:, column] - read[:, 0], bootstrap.difference(ratios, own), cluster)
            estimates.append(Estimate(name=name, parameter=parameter, by_slope=by_slope, note=note, interval=value, more=more))
        with np.errstate(divide="ignore"):
            spread = np.log10(np.percentile(w, np.arange(1, 101))).tolist() if len(w) else []
        return Family(
            of=of, diagnostics=found, answers=not reasons, reasons=reasons, own=bootstrap.interval(read[:, 0], own, cluster),
            estimates=estimates, weights=spread,
        )  # fmt: skip


def _weighed(way: Down, propensity: Array, q_policy: Array) -> Weighed:
    with np.errstate(invalid="ignore"):
        return Weighed(propensity, np.isfinite(propensity), way.chance / propensity, q_policy)


def _of_items(name: str, w: Array, r: Array, q: Array, q_policy: Array) -> Callable[[float], Ratios]:
    """The estimator as a function of its parameter, where it has one."""
    match name:
        case "replay":
            return lambda _: estimators.replay(r, w > 0)
        case "ips":
            return lambda _: estimators.ips(w, r)
        case "snips":
            return lambda _: estimators.snips(w, r)
        case "dm":
            return lambda _: estimators.dm(q_policy)
        case "dr":
            return lambda _: estimators.dr(w, r, q, q_policy)
        case "sndr":
            return lambda _: estimators.sndr(w, r, q, q_policy)
        case "switch-dr":
            return lambda tau: estimators.dr(estimators.switched(w, tau), r, q, q_policy)
        case "dros":
            return lambda lam: estimators.dr(estimators.shrunk(w, lam), r, q, q_policy)
        case "clipped":
            return lambda most: estimators.ips(estimators.clipped(w, most), r)
        case _:
            return lambda lam: estimators.dr(estimators.sub_gaussian(w, lam), r, q, q_policy)


def _given_above(rounds: Drawn) -> float:
    """Share of the propensities that hold whatever stands above which have one of the other kind beside them."""
    known = np.isfinite(rounds.propensity) & rounds.listed
    return float(np.isfinite(rounds.above[known]).mean()) if rounds.marginal and known.any() else 1.0


def _unseen(policy: Chances, rounds: Drawn, there: Array) -> float:
    """Share of the policy's chance on arms that no round with a propensity shows."""
    seen = np.zeros(len(rounds.arms), bool)
    seen[rounds.arm[there]] = True
    by_context = policy.table @ ~seen
    return float(by_context[policy.context[there]].mean()) if there.any() else 0.0


def _padded(rounds: Drawn) -> tuple[Array, Array]:
    """Rounds of named requests as lists [S, K] by position, and which slots are there."""
    order = rounds.order[rounds.listed[rounds.order]]
    if not len(order):
        return np.zeros((0, 1), np.int64), np.zeros((0, 1), bool)
    _, starts, sizes = np.unique(rounds.request[order], return_index=True, return_counts=True)
    slot = np.arange(int(sizes.max()))
    there = slot < sizes[:, None]
    return order[np.where(there, starts[:, None] + slot, starts[:, None])], there


def prospects(rounds: Rounds) -> Iterator[str]:
    """What a log can answer about other policies, and what it cannot, before one is named."""
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
    if np.ptp(known) <= SAME * known.max():
        yield "drawn uniformly: replay of deterministic policies too"
    shown = np.bincount(rounds.arm, minlength=len(rounds.arms))
    yield f"{int((shown > 0).sum()):,} of {len(rounds.arms):,} arms were shown; of the others it says nothing"
    if rounds.listed.any() and (given := _given_above(rounds)) < verdict.LEAST_COVERAGE:
        yield f"lists: slot by slot (iips), not as a whole: {WHATEVER_ABOVE.format(given)}"
    elif rounds.listed.any():
        yield f"lists: {len(set(rounds.request[rounds.listed].tolist())):,} requests with their slots (iips, rips, sips, cascade-dr)"
    else:
        yield "no requests are named: items by themselves, no lists"
    yield f"{rounds.join_rate:.1%} of {rounds.acts:,} acts found what they were about"
