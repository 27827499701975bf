"""What a log says of choices: which arm was shown where, with which chance, and what came of it.

A round is one item shown: a slot of an exposure, an impression, or an act that carries a propensity and stands for its own
impression. Acts join by request id and item, else by the last time this user was shown this item, within `partition.join_window_ms`
after it; what an act means is decided where replay decides it (`core.join.labels`). An act that nothing was shown for is no round: it says
nothing of what a policy earns.
Shapes: N rounds.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from online_model.features import TASKS
from replay.log_rows import LogRow
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, ExposedItem, Exposure, Rejected
from streams.core.join.items import Item
from streams.core.join.labels import COLLECT, interpret
from streams.core.join.settings import PartitionSettings

Array = np.ndarray

REWARDS = (*TASKS, "play")
PLAY = 1 << len(TASKS)
_NO_NUMBER = re.compile(rb'"(?:module_)?propensity(?:_given_above)?"\s*:\s*(null|-?NaN|-?Infinity|")')
_NAMED = re.compile("propensity(_given_above)?`")
ZERO, NO_NUMBER, BEYOND = "0", "no number", "below 0 or above 1"


class Drawn(Protocol):
    """What a log drew: items (here) or strategies (`strategy_rounds.py`)."""

    arms: list[str]
    arm: Array  # int [N], a place in `arms`
    position: Array  # int [N]: what an arm's reward may depend on, beside the arm
    ts: Array  # int [N]

    @property
    def propensity(self) -> Array:
        """Float [N]; NaN where the log has none."""

    @property
    def above(self) -> Array:
        """The same, given what stands above in the list; NaN where the log has none of that kind."""

    @property
    def request(self) -> Array:
        """Int [N], 0 … U − 1: rounds of one request are alike."""

    @property
    def listed(self) -> Array:
        """Bool [N]: of a request that was named."""

    @property
    def order(self) -> Array:
        """Int [N]: rounds by request, each list from the top."""

    @property
    def marginal(self) -> bool:
        """Whether a propensity is the chance of an item at its place whatever stands above; else given what does."""

    @property
    def coverage(self) -> float:
        """Share of rounds with a propensity."""

    @property
    def join_rate(self) -> float:
        """Share of acts whose exposure is in the log."""

    def reward(self, name: str) -> Array:
        """Float [N]."""

    def complaint(self) -> str | None:
        """Why nothing can be judged by it; None where something can."""


@dataclass(slots=True)
class Rounds:
    """Rounds in the order of the log."""

    arms: list[str]  # items, in the order in which they came; the catalog's behind them
    domains: list[str | None]  # of the arms
    published: Array  # float [A], ms; an arm is there from then on
    expires: Array  # float [A], ms; until then
    arm: Array  # int [N], a place in `arms`
    module: Array  # int [N], which of a page's modules, from the top; 0 where there are none
    position: Array  # int [N], as logged, within the module; 0 where there is none
    labels: Array  # int [N], bit t = TASKS[t], then PLAY
    propensity: Array  # float [N]; NaN where the log has none
    above: Array  # float [N], the same given what stands above; NaN where the log has none of that kind
    request: Array  # int [N], 0 … U − 1: rounds of one request are alike
    listed: Array  # bool [N]: of a request that was named
    domain: list[str | None]  # of each round
    request_ids: list[str]  # [U]; empty where it was not named
    ts: Array  # int [N]
    acts: int  # that belong to something shown, or should
    unjoined: int  # of these, without their exposure
    late: int  # of these, after the join window: not counted as a reward
    rejected: int
    bad: dict[str, tuple[int, int]]  # what is wrong with propensities -> how often, line of the first
    marginal: bool = False  # a propensity is the chance of an item at its place whatever stands above: so Segue logs its own

    def reward(self, name: str) -> Array:
        """[N] 0 or 1."""
        bit = PLAY if name == "play" else 1 << TASKS.index(name)
        return ((self.labels & bit) > 0).astype(float)

    @property
    def order(self) -> Array:
        """Module after module, each by position, then as logged."""
        return np.lexsort((np.arange(len(self.arm)), self.position, self.module, self.request))

    @property
    def coverage(self) -> float:
        return float(np.isfinite(self.propensity).mean()) if len(self.arm) else 0.0

    @property
    def join_rate(self) -> float:
        return 1 - self.unjoined / self.acts if self.acts else 1.0

    def complaint(self) -> str | None:
        """What is wrong with the propensities; None where nothing is."""
        if not self.bad:
            return None
        each = ", ".join(f"{what} ({n:,} rows, first in line {line:,})" for what, (n, line) in sorted(self.bad.items()))
        return f"propensities that can't be the chance of what was shown: {each}; the others can't be trusted then, mend the source"


@dataclass(slots=True)
class Reader:
    """Takes a log row by row."""

    settings: PartitionSettings
    catalog: dict[str, Item] = field(default_factory=dict)
    _arms: dict[str, int] = field(default_factory=dict)
    _domains: list[str | None] = field(default_factory=list)
    _rows: list[tuple[int, int, float, float, int, bool, str | None, int, int]] = field(default_factory=list)
    _labels: list[int] = field(default_factory=list)
    _requests: dict[str, int] = field(default_factory=dict)
    _request_ids: list[str] = field(default_factory=list)
    _shown: dict[tuple[str, str, bool], int] = field(default_factory=dict)  # (request or user, item, by request?) -> round
    _modules: dict[int, dict[str, int]] = field(default_factory=dict)  # request -> module -> which one
    _seen: set[int] = field(default_factory=set)
    _waiting: list[Event] = field(default_factory=list)
    _bad: dict[str, tuple[int, int]] = field(default_factory=dict)
    _marginal: bool = False
    _acts: int = 0
    _late: int = 0
    _rejected: int = 0

    def __len__(self) -> int:
        """Rounds so far."""
        return len(self._rows)

    def take(self, row: LogRow) -> None:
        for record in decode(row.raw):
            if isinstance(record, Rejected):
                self._rejected += 1
                self._blame(record, row.line)
                continue
            if not isinstance(record, Event | Exposure):
                continue
            if record.event_id is not None:
                key = hash(record.event_id)
                if key in self._seen:
                    continue
                self._seen.add(key)
            if isinstance(record, Exposure):
                for slot in record.slots:
                    self._slot(record, slot, row)
            else:
                self._event(record, row)

    def rounds(self) -> Rounds:
        """All that was taken."""
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            self._join(event)
        for item in self.catalog.values():
            self._arm(item.item_id, item.domain)
        known = [self.catalog.get(arm, Item(item_id=arm)) for arm in self._arms]
        columns = list(zip(*self._rows, strict=True)) or [()] * 9
        return Rounds(
            arms=list(self._arms), domains=self._domains,
            published=np.array([-np.inf if item.published_ts is None else item.published_ts for item in known], float),
            expires=np.array([-np.inf if item.hidden else np.inf if item.expires_ts is None else item.expires_ts for item in known], float),
            arm=np.array(columns[0], np.int64), module=np.array(columns[8], np.int64), position=np.array(columns[1], np.int64),
            labels=np.array(self._labels, np.int64), propensity=np.array(columns[2], float), above=np.array(columns[3], float),
            request=np.array(columns[4], np.int64), listed=np.array(columns[5], bool), domain=list(columns[6]),
            request_ids=self._request_ids, ts=np.array(columns[7], np.int64),
            acts=self._acts, unjoined=len(self._waiting), late=self._late, rejected=self._rejected, bad=self._bad, marginal=self._marginal,
        )  # fmt: skip

    def _slot(self, record: Exposure, slot: ExposedItem, row: LogRow) -> None:
        """One that Segue filled says both kinds of chances, each in its module; the first of a module brings the module with it."""
        chance, above = self._chance(slot.propensity, row), None
        if slot.source is not None:
            self._marginal = True
            above = self._chance(slot.conditional_propensity, row)
            request = self._requests.get(record.request_id or "")
            if slot.module_propensity is not None and (request is None or slot.module not in self._modules.get(request, {})):
                above *= self._chance(slot.module_propensity, row)
        self._show(record, slot.item_id, slot.position, chance, record.domain, slot.module, above)

    def _event(self, event: Event, row: LogRow) -> None:
        said = interpret(event, self.settings)
        known = self._round(event)
        if said.impression or (known is None and event.propensity is not None):
            if known is None or event.request_id is None:
                self._show(event, event.item_id, event.position or 0, self._chance(event.propensity, row), event.domain, event.module)
        if said.resolving or said.undo or said.mask:
            self._acts += 1
            self._join(event)

    def _join(self, event: Event) -> None:
        at = self._round(event)
        if at is None or (event.request_id is None and event.ts < self._rows[at][7]):  # what is shown later was not what was meant
            self._waiting.append(event)  # its exposure may come later; at the end it is unjoined
            return
        if event.ts - self._rows[at][7] > self.settings.join_window_ms:
            self._late += 1
            return
        said = interpret(event, self.settings)
        played = Action.PLAY in (event.action, *event.also)
        self._labels[at] = (self._labels[at] & ~(COLLECT if said.undo else 0)) | said.mask | (PLAY if played else 0)

    def _round(self, event: Event) -> int | None:
        if event.request_id is not None:
            return self._shown.get((event.request_id, event.item_id, True))
        return self._shown.get((event.user_id, event.item_id, False))

    def _show(
        self, record: Event | Exposure, item: str, position: int, chance: float, domain: str | None, module: str | None,
        above: float | None = None,
    ) -> None:  # fmt: skip
        """`above`: the chance given what stands above, where it is another one."""
        at = len(self._rows)
        name = record.request_id
        if name is not None:
            if (name, item, True) in self._shown:
                return
            self._shown[name, item, True] = at
        request = self._requests.get(name) if name is not None else None
        if request is None:
            request = len(self._request_ids)
            self._request_ids.append(name or "")
            if name is not None:
                self._requests[name] = request
        self._shown[record.user_id, item, False] = at
        which = self._module(request, module)
        given = chance if above is None else above
        self._rows.append((self._arm(item, domain), position, chance, given, request, name is not None, domain, record.ts, which))
        self._labels.append(0)

    def _module(self, request: int, module: str | None) -> int:
        """Which one of its request, in the order in which they were shown."""
        return self._modules.setdefault(request, {}).setdefault(module, len(self._modules[request])) if module is not None else 0

    def _arm(self, item: str, domain: str | None) -> int:
        at = self._arms.get(item)
        if at is None:
            at = self._arms[item] = len(self._arms)
            found = self.catalog.get(item)
            self._domains.append(found.domain if found and found.domain is not None else domain)
        return at

    def _chance(self, propensity: float | None, row: LogRow) -> float:
        if propensity is None:
            if _NO_NUMBER.search(row.raw):
                self._count(NO_NUMBER, row.line)  # a table's NaN comes as null
            return float("nan")
        if propensity == 0:
            self._count(ZERO, row.line)
            return float("nan")
        return propensity

    def _blame(self, rejected: Rejected, line: int) -> None:
        named = _NAMED.search(rejected.detail)
        if named or _NO_NUMBER.search(rejected.raw):
            beyond = named and "`float`" in rejected.detail and ("=" in rejected.detail)
            self._count(BEYOND if beyond else NO_NUMBER, line)

    def _count(self, what: str, line: int) -> None:
        n, first = self._bad.get(what, (0, line))
        self._bad[what] = (n + 1, first)


def read(rows: Iterable[LogRow], settings: PartitionSettings, catalog: dict[str, Item], told: Callable[[int, int], None]) -> Rounds:
    """The rounds of a log."""
    reader = Reader(settings, catalog)
    for number, row in enumerate(rows, 1):
        reader.take(row)
        if number % 1000 == 0:
            told(number, -1)
    return reader.rounds()


def watched(rows: Iterable[LogRow], reader: Reader) -> Iterator[LogRow]:
    """The rows, each shown to the reader in passing."""
    for row in rows:
        reader.take(row)
        yield row
