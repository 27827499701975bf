"""A target policy as a table of probabilities: of each arm, by context (position, domain, request).

    uniform           all arms of the round's domain that are available at its time, as far as log and catalog tell, alike
    arm:X             always X
    open-bandit-bts   Open Bandit's production Thompson sampling, by its published priors
    FILE              CSV or JSON lines: item_id, probability, and, where it matters, position and request_id

A slate holds an item once: down a slate a policy draws without replacement, in proportion to its probabilities. Where the logged
propensities are marginal (Segue's own are), items and single positions are weighed by the table as marginal probabilities too: under a
uniform order every item stands in every place as often.
Shapes: N rounds, C contexts, A arms, G rows of q̂.
"""
from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from replay.log_rows import LogError, lines
from replay.off_policy.rounds import LoggedRounds, Rounds

Array = np.ndarray
T = TypeVar("T")

SUM_SLACK = 1e-6  # of chances written with seven digits
_LIMIT = 200_000_000  # cells of a table: 1.6 GB


@dataclass(slots=True)
class TargetPolicy:
    """π for the rounds of a log."""

    table: Array  # [C, A], rows sum to 1
    context: Array  # int [N]

    @property
    def deterministic(self) -> bool:
        """Whether each context has one arm."""
        return bool((self.table.max(1, initial=0.0) > 1 - 1e-12).all())


class PolicyRow(msgspec.Struct, frozen=True):
    """A line of a file of probabilities."""

    item_id: str
    probability: float
    position: int | None = None
    request_id: str | None = None


def target_policy(policy: str, rounds: Rounds) -> TargetPolicy:
    """The policy named, for the rounds of a log; arms that only it knows are added to them."""
    match policy.partition(":"):
        case ("uniform", _, ""):
            return _uniform(rounds)
        case ("arm", _, name) if name:
            return _always(name, rounds)
        case ("open-bandit-bts", _, ""):
            from replay.off_policy.open_bandit_bts import POSITIONS, marginals

            rows = zip(POSITIONS, marginals(), strict=True)
            return _of_rows(
                [PolicyRow(str(item), float(p), position) for position, row in rows for item, p in enumerate(row)], rounds, policy
            )
    path = Path(policy)
    if not path.is_file():
        raise LogError(f"--policy {policy}: no such file, nor uniform, arm:ITEM or open-bandit-bts")
    return _of_rows(list(read_rows(path, PolicyRow, "item_id, probability, and perhaps position and request_id")), rounds, policy)


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


def _always(name: str, rounds: Rounds) -> TargetPolicy:
    if name not in rounds.arms:
        _add(name, rounds)
    table = np.zeros((1, len(rounds.arms)))
    table[0, rounds.arms.index(name)] = 1.0
    return TargetPolicy(table, np.zeros(len(rounds.arm), np.int64))


def _add(name: str, rounds: Rounds) -> None:
    rounds.arms.append(name)
    rounds.domains.append(None)
    rounds.published, rounds.expires = np.append(rounds.published, -np.inf), np.append(rounds.expires, np.inf)


def _of_rows(given: list[PolicyRow], rounds: Rounds, name: str) -> TargetPolicy:
    """By request and position, as far as the lines name them."""
    by_request, by_position = any(c.request_id is not None for c in given), any(c.position is not None for c in given)
    at = {arm: place for place, arm in enumerate(rounds.arms)}
    for item in dict.fromkeys(c.item_id for c in given):
        if item not in at:
            at[item] = len(rounds.arms)
            _add(item, rounds)
    contexts: dict[tuple[str | None, int | None], int] = {}
    for c in given:
        contexts.setdefault((c.request_id, c.position), len(contexts))
    if len(contexts) * len(at) > _LIMIT:
        raise LogError(f"{name}: {len(contexts):,} contexts of {len(at):,} arms are too many; evaluate a part of the log")
    table = np.zeros((len(contexts), len(at)))
    for c in given:
        if not 0 <= c.probability <= 1:
            raise LogError(f"{name}: probability {c.probability} of {c.item_id}; expected 0 to 1")
        table[contexts[c.request_id, c.position], at[c.item_id]] += c.probability
    sums = table.sum(1)
    for key, total in zip(contexts, sums.tolist(), strict=True):
        if abs(total - 1) > SUM_SLACK:
            raise LogError(f"{name}: probabilities{_where(key)} sum to {total:.7f}; they must sum to 1")
    needed = [
        (rounds.request_ids[request] if by_request else None, position if by_position else None)
        for request, position in zip(rounds.request.tolist(), rounds.position.tolist(), strict=True)
    ]
    for key in dict.fromkeys(needed):
        if key not in contexts:
            raise LogError(f"{name}: no probabilities{_where(key)}, which the log has")
    return TargetPolicy(table / sums[:, None], np.array([contexts[key] for key in needed], np.int64))


def _where(key: tuple[str | None, int | None]) -> str:
    request, position = key
    return (f" of request {request}" if request is not None else "") + (f" at position {position}" if position is not None else "")


def read_rows(path: Path, of: type[T], columns: str) -> Iterator[T]:
    """Rows of a file of probabilities; `columns` names them in errors."""
    numbered = lines(path)
    rows: Iterator[tuple[int, object]]
    if ".csv" in path.suffixes:
        head = next(csv.reader([next((line.decode("utf-8-sig", "replace") for _, line in numbered), "")]), [])
        cells = ((n, next(csv.reader([line.decode("utf-8", "replace")]))) for n, line in numbered if line)
        rows = ((n, {k: v for k, v in zip(head, row, strict=False) if v != ""}) for n, row in cells)
    else:
        rows = ((n, _json(line, path, n)) for n, line in numbered if line)
    for number, row in rows:
        try:
            yield msgspec.convert(row, of, strict=False)
        except msgspec.ValidationError as error:
            raise LogError(f"{path}:{number}: {error}; expected {columns}") from None


def _json(line: bytes, path: Path, number: int) -> object:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogError(f"{path}:{number}: {error}; expected JSON lines, or a file named .csv") from None


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
