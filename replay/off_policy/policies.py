"""A target policy as a table of probabilities: of each arm, by context (position, module, domain, request).

    uniform           all arms of the round's domain that are available at its time, as far as log and catalog tell, alike
    arm:X             always X
    open-bandit-bts   Open Bandit's production Thompson sampling, by the priors of the campaign whose items the log has; of a part of
                      a log open-bandit-bts:CAMPAIGN
    FILE              CSV or JSON lines: item_id, probability, and, where it matters, position, module and request_id

A slate holds an item once: down a slate a policy draws without replacement, in proportion to its probabilities. Where the logged
propensities are marginal (Segue's own are), items and single positions are weighed by the table as marginal probabilities too: under a
uniform order every item stands in every place as often.
Shapes: N rounds, C contexts, A arms, G rows of q̂.
"""
from __future__ import annotations

import csv
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import msgspec
import numpy as np

from replay.log_rows import LogError, lines, text_lines
from replay.off_policy.rounds import LoggedRounds, Rounds

Array = np.ndarray
SUM_SLACK = 1e-6  # of probabilities written with seven digits
Probability = Annotated[float, msgspec.Meta(ge=0, le=1 + SUM_SLACK)]
_LIMIT = 200_000_000  # cells of a table: 1.6 GB
_PHRASES = {
    "request_id": "of request",
    "module": "of module",
    "position": "at position",
    "segment": "of segment",
}  # columns of contexts, in errors


@dataclass(slots=True)
class TargetPolicy:
    """π for the rounds of a log."""

    table: Array  # [C, A], rows sum to 1
    context: Array  # int [N]

    @property
    def deterministic(self) -> bool:
        """Whether each context has one arm."""
        return bool((self.table.max(1, initial=0.0) > 1 - 1e-12).all())


class PolicyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a file of probabilities."""

    arm: str = msgspec.field(name="item_id")
    probability: Probability
    position: int | None = None
    module: str | None = None
    request_id: str | None = None


class ArmProbability(Protocol):
    """A row that gives an arm's probability, whatever the columns of its context."""

    @property
    def arm(self) -> str:
        """The arm's name."""

    @property
    def probability(self) -> float:
        """0 to 1."""


Row = TypeVar("Row", bound=ArmProbability)
Context = TypeVar("Context", bound=Hashable)


def target_policy(policy: str, rounds: Rounds) -> TargetPolicy:
    """The policy named, for the rounds of a log; arms that only it knows are added to them. Raises LogError at one that can't be used."""
    match policy.partition(":"):
        case ("uniform", _, ""):
            return _uniform(rounds)
        case ("arm", _, name) if name:
            return always(name, rounds)
        case ("open-bandit-bts", _, named):
            from replay.off_policy.open_bandit_bts import POSITIONS, campaign, marginals

            marginal = zip(POSITIONS, marginals(campaign(named, rounds.arms)), strict=True)
            rows = [PolicyRow(str(item), float(p), position) for position, row in marginal for item, p in enumerate(row)]
        case _:
            if not Path(policy).is_file():
                raise LogError(f"--policy {policy}: no such file, nor uniform, arm:ITEM or open-bandit-bts")
            rows = list(read_rows(Path(policy), PolicyRow, "item_id, probability, and perhaps position, module and request_id"))
    columns: dict[str, Sequence[object]] = {
        "request_id": [rounds.request_ids[request] for request in rounds.request.tolist()],
        "module": rounds.modules, "position": rounds.position.tolist(),
    }  # fmt: skip
    return of_rows(rows, columns, rounds, policy)


def _uniform(rounds: Rounds) -> TargetPolicy:
    """A context is a domain between two moments at which an arm comes or goes."""
    changes = np.unique(np.concatenate((rounds.published, rounds.expires)))
    changes = changes[np.isfinite(changes)]
    names = sorted({domain for domain in rounds.domain if domain is not None}) if any(rounds.domains) else []
    place = {name: at for at, name in enumerate(names)}
    domain = np.array([place.get(name, -1) if name is not None else -1 for name in rounds.domain], np.int64)
    keys, context = np.unique(np.stack((domain, np.searchsorted(changes, rounds.ts, "right")), 1), axis=0, return_inverse=True)
    if len(keys) * len(rounds.arms) > _LIMIT:
        raise LogError(f"uniform: {len(keys):,} sets of {len(rounds.arms):,} arms are too many; evaluate a part of the log")
    table = np.zeros((len(keys), len(rounds.arms)))
    of_arm = np.array([place.get(name, -1) if name is not None else -1 for name in rounds.domains], np.int64)
    moments = np.concatenate(([-np.inf], changes))
    for row, (name, since) in zip(table, keys.tolist(), strict=True):
        moment = moments[since]
        available = (rounds.published <= moment) & (moment < rounds.expires)
        row[:] = available & ((of_arm == name) | (name < 0))
    return TargetPolicy(table / np.maximum(1.0, table.sum(1, keepdims=True)), context.ravel())


def always(name: str, rounds: LoggedRounds) -> TargetPolicy:
    """The policy that always takes one arm."""
    return as_table({(): {name: 1.0}}, [()] * len(rounds.arm), rounds)


def of_rows(rows: Iterable[ArmProbability], columns: Mapping[str, Sequence[object]], rounds: LoggedRounds, name: str) -> TargetPolicy:
    """Rows as a policy. `columns`: of a context, with their value in each round [N]; those that no row names don't matter.

    Raises LogError where probabilities of a context don't sum to 1, or where a context of the log has none.
    """
    rows = list(rows)
    used = [column for column in columns if any(getattr(row, column) is not None for row in rows)]
    contexts: dict[tuple[object, ...], dict[str, float]] = {}
    for row in rows:
        arms = contexts.setdefault(tuple(getattr(row, column) for column in used), {})
        arms[row.arm] = arms.get(row.arm, 0.0) + row.probability
    needed = list(zip(*(columns[column] for column in used), strict=True)) if used else [()] * len(rounds.arm)

    def where(context: Iterable[object]) -> str:
        named = zip(used, context, strict=True)
        return "".join(
            f" {_PHRASES[column]} {value}" if value is not None else " of no module" if column == "module" else ""
            for column, value in named
        )

    for context, arms in contexts.items():
        total = sum(arms.values())
        if not abs(total - 1) <= SUM_SLACK:
            raise LogError(f"{name}: probabilities{where(context)} sum to {total:.7f}; they must sum to 1")
    for context in dict.fromkeys(needed):
        if context not in contexts:
            raise LogError(f"{name}: no probabilities{where(context)}, which the log has")
    return as_table(contexts, needed, rounds)


def as_table(contexts: Mapping[Context, Mapping[str, float]], needed: Sequence[Context], rounds: LoggedRounds) -> TargetPolicy:
    """Probabilities by context and arm as a table; `needed` [N]: the context of each round."""
    known = set(rounds.arms)
    for name in dict.fromkeys(name for arms in contexts.values() for name in arms if name not in known):
        rounds.add_arm(name)
    if len(contexts) * len(rounds.arms) > _LIMIT:
        raise LogError(f"--policy: {len(contexts):,} contexts of {len(rounds.arms):,} arms are too many; evaluate a part of the log")
    column = {name: at for at, name in enumerate(rounds.arms)}
    table = np.zeros((len(contexts), len(rounds.arms)))
    for row, arms in zip(table, contexts.values(), strict=True):
        row[[column[name] for name in arms]] = list(arms.values())
    at = {context: number for number, context in enumerate(contexts)}
    return TargetPolicy(table / table.sum(1, keepdims=True), np.array([at[context] for context in needed], np.int64))


def read_rows(path: Path, row_type: type[Row], columns: str) -> Iterator[Row]:
    """Rows of a file of probabilities. Raises LogError at one that is none; `columns` names what is expected there."""
    if ".csv" in path.suffixes:
        reader = csv.DictReader(text_lines(path))
        cells = ({name: cell for name, cell in row.items() if name is not None and cell} for row in reader)
        rows = ((reader.line_num, msgspec.json.encode(row)) for row in cells)
    else:
        rows = ((number, line) for number, line in lines(path) if line)
    for number, row in rows:
        try:
            yield msgspec.json.decode(row, type=row_type, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LogError(f"{path}:{number}: {error}; expected {columns}, as JSON lines or in a file named .csv") from None


@dataclass(slots=True)
class LoggedProbabilities:
    """π of the logged arms, and what of π is left for a place after the items above it."""

    probability: Array  # [N] of the logged arm
    remaining: Array  # [N] π's mass on arms that don't stand above; inf where nothing is left
    pairs: list[tuple[Array, Array]]  # rounds of one slate, one lower than the other: all pairs at distance 1, then at 2, …


def without_replacement(policy: TargetPolicy, rounds: LoggedRounds) -> LoggedProbabilities:
    """Conditional on the items above, which π does not draw again. A slate goes by module, position, then order of the log."""
    n = len(rounds.arm)
    remaining, pairs = np.ones(n), []
    order = rounds.order
    request = rounds.request[order]
    step = 1
    while step < n:
        together = request[step:] == request[:-step]
        if not together.any():
            break
        lower, higher = order[step:][together], order[:-step][together]
        remaining[lower] -= policy.table[policy.context[lower], rounds.arm[higher]]
        pairs.append((lower, higher))
        step += 1
    possible = remaining > 1e-9
    probability = np.where(possible, policy.table[policy.context, rounds.arm] / np.where(possible, remaining, 1.0), 0.0)
    return LoggedProbabilities(probability, np.where(possible, remaining, np.inf), pairs)


def marginal_probabilities(policy: TargetPolicy, rounds: LoggedRounds) -> LoggedProbabilities:
    """Marginal over the items above: the table's own."""
    return LoggedProbabilities(policy.table[policy.context, rounds.arm], np.ones(len(rounds.arm)), [])


def expected_reward(policy: TargetPolicy, logged: LoggedProbabilities, rounds: LoggedRounds, q: Array, group: Array) -> Array:
    """q̂_π [N] from q̂ [G, A]; `group` [N]: the row of q̂ that holds for a round."""
    keys, inverse = np.unique(np.stack((policy.context, group), 1), axis=0, return_inverse=True)
    each = np.concatenate([
        np.einsum("ca,ca->c", policy.table[part[:, 0]], q[part[:, 1]]) for part in np.array_split(keys, max(1, len(keys) // 1024))
    ]) if len(keys) else np.zeros(0)  # fmt: skip
    out = each[inverse.ravel()]
    for lower, higher in logged.pairs:
        out[lower] -= policy.table[policy.context[lower], rounds.arm[higher]] * q[group[lower], rounds.arm[higher]]
    return out / logged.remaining
