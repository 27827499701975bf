"""A policy to be judged, as a table of chances: which arm, given where (position, domain, request).

    uniform           every arm alike that is of the round's domain and there at its time, as far as log and catalog tell
    arm:X             always X
    open-bandit-bts   what Open Bandit's Thompson sampling did in production, by its published priors
    FILE              CSV or JSON lines: item_id, probability, and, where it matters, position and request_id

In a list nothing stands twice: down a list a policy draws from what is left, in proportion to its chances. Where propensities hold
whatever stands above (Segue's own do), items and slots are weighed by the table as chances of that kind, too: a uniform order has every
item in every place as often.
Shapes: N rounds, C contexts, A arms.
"""
from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from replay.log_rows import LogError, lines
from replay.off_policy.rounds import Drawn, Rounds

Array = np.ndarray
T = TypeVar("T")

SUM_SLACK = 1e-6  # of chances written with seven digits
_LIMIT = 200_000_000  # cells of a table: 1.6 GB


@dataclass(slots=True)
class Chances:
    """π for a log."""

    table: Array  # [C, A], rows sum to 1
    context: Array  # int [N]

    @property
    def deterministic(self) -> bool:
        return bool((self.table.max(1, initial=0.0) > 1 - 1e-12).all())


class Chance(msgspec.Struct, frozen=True):
    """A line of a file of probabilities."""

    item_id: str
    probability: float
    position: int | None = None
    request_id: str | None = None


def chances(policy: str, rounds: Rounds) -> Chances:
    """The policy named, for the rounds of a log; arms that only it knows are added to them."""
    match policy.partition(":"):
        case ("uniform", _, ""):
            return _uniform(rounds)
        case ("arm", _, name) if name:
            return _always(name, rounds)
        case ("open-bandit-bts", _, ""):
            from replay.off_policy.open_bandit_bts import POSITIONS, marginals

            rows = zip(POSITIONS, marginals(), strict=True)
            return _from([Chance(str(item), float(p), position) for position, row in rows for item, p in enumerate(row)], rounds, policy)
    path = Path(policy)
    if not path.is_file():
        raise LogError(f"--policy {policy}: no such file, nor uniform, arm:ITEM or open-bandit-bts")
    return _from(list(written(path, Chance, "item_id, probability, and perhaps position and request_id")), rounds, policy)


def _uniform(rounds: Rounds) -> Chances:
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
        there = (rounds.published <= moment) & (moment < rounds.expires)
        row[:] = there & ((of_arm == name) | (name < 0))
    return Chances(table / np.maximum(1.0, table.sum(1, keepdims=True)), context.ravel())


def _always(name: str, rounds: Rounds) -> Chances:
    if name not in rounds.arms:
        _add(name, rounds)
    table = np.zeros((1, len(rounds.arms)))
    table[0, rounds.arms.index(name)] = 1.0
    return Chances(table, np.zeros(len(rounds.arm), np.int64))


def _add(name: str, rounds: Rounds) -> None:
    rounds.arms.append(name)
    rounds.domains.append(None)
    rounds.published, rounds.expires = np.append(rounds.published, -np.inf), np.append(rounds.expires, np.inf)


def _from(given: list[Chance], rounds: Rounds, name: str) -> Chances:
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
    wanted = [
        (rounds.request_ids[request] if by_request else None, position if by_position else None)
        for request, position in zip(rounds.request.tolist(), rounds.position.tolist(), strict=True)
    ]
    for key in dict.fromkeys(wanted):
        if key not in contexts:
            raise LogError(f"{name}: no probabilities{_where(key)}, which the log has")
    return Chances(table / sums[:, None], np.array([contexts[key] for key in wanted], np.int64))


def _where(key: tuple[str | None, int | None]) -> str:
    request, position = key
    return (f" of request {request}" if request is not None else "") + (f" at position {position}" if position is not None else "")


def written(path: Path, of: type[T], wanted: str) -> Iterator[T]:
    """Lines of a file of probabilities; `wanted` names its columns."""
    numbered = lines(path)
    rows: Iterator[tuple[int, object]]
    if ".csv" in path.suffixes:
        head = next(csv.reader([next((line.decode("utf-8-sig", "replace") for _, line in numbered), "")]), [])
        rows = ((n, {k: v for k, v in zip(head, cells, strict=False) if v != ""}) for n, cells in _cells(numbered))
    else:
        rows = ((n, _loose(line, path, n)) for n, line in numbered if line)
    for number, row in rows:
        try:
            yield msgspec.convert(row, of, strict=False)
        except msgspec.ValidationError as error:
            raise LogError(f"{path}:{number}: {error}; expected {wanted}") from None


def _cells(numbered: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, list[str]]]:
    for number, line in numbered:
        if line:
            yield number, next(csv.reader([line.decode("utf-8", "replace")]))


def _loose(line: bytes, path: Path, number: int) -> object:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogError(f"{path}:{number}: {error}; expected JSON lines, or a file named .csv") from None


@dataclass(slots=True)
class Down:
    """π of the logged arms, down each list: what stands above is not drawn again."""

    chance: Array  # [N] of the logged arm
    left: Array  # [N] what is left of the policy's chances behind the slots above
    above: list[tuple[Array, Array]]  # pairs of rounds (below, above) of one list, a step at a time


def down(c: Chances, rounds: Drawn) -> Down:
    """Rounds of a list stand in the order of its modules and positions, then of the log."""
    n = len(rounds.arm)
    left, pairs = np.ones(n), []
    order = rounds.order
    request = rounds.request[order]
    step = 1
    while step < n:
        same = request[step:] == request[:-step]
        if not same.any():
            break
        below, above = order[step:][same], order[:-step][same]
        left[below] -= c.table[c.context[below], rounds.arm[above]]
        pairs.append((below, above))
        step += 1
    there = left > 1e-9
    chance = np.where(there, c.table[c.context, rounds.arm] / np.where(there, left, 1.0), 0.0)
    return Down(chance, np.where(there, left, np.inf), pairs)


def by_place(c: Chances, rounds: Drawn) -> Down:
    """The same of chances that hold whatever stands above."""
    return Down(c.table[c.context, rounds.arm], np.ones(len(rounds.arm)), [])


Expected = Callable[[Array], Array]


def expected(c: Chances, d: Down, rounds: Drawn, q: Array, group: Array) -> Array:
    """q̂_π [N] from q̂ [G, A], `group` [N] the row of q̂ that holds for a round."""
    keys, inverse = np.unique(np.stack((c.context, group), 1), axis=0, return_inverse=True)
    each = np.concatenate([
        np.einsum("ca,ca->c", c.table[part[:, 0]], q[part[:, 1]]) for part in np.array_split(keys, max(1, len(keys) // 1024))
    ]) if len(keys) else np.zeros(0)  # fmt: skip
    out = each[inverse.ravel()]
    for below, above in d.above:
        out[below] -= c.table[c.context[below], rounds.arm[above]] * q[group[below], rounds.arm[above]]
    return out / d.left
