"""Items that a log exposed: which arm was shown where, with which propensity, and which feedback it got.

A round is one item shown: an item of an exposure, an impression, or an act that carries a propensity and stands for its own
impression. The log runs through the partition that runs live, and that partition decides everything that live decides: what is rejected,
which exposure feedback joins (`Partition.exposed`), and the labels with which an exposure closes (`Closed`). What the effects lack
(arm, position, propensity) comes from the admitted record beside them; the exposure's id is the link.
Shapes: N rounds, U requests, A arms.
"""
from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bandit.estimators import MOST_WEIGHT
from online_model.features import TASKS, Closed, Example
from replay.off_policy.log_pass import observed
from replay.prequential import Numbered
from streams.core.join.events import Action, Event, ExposedItem, Exposure, Rejected
from streams.core.join.items import Item
from streams.core.join.labels import LABELS, interpret
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects
from streams.core.join.settings import PartitionSettings

Array = np.ndarray

REWARDS = (*TASKS, "play")
PLAY = 1 << len(TASKS)
_NO_NUMBER = re.compile(rb'"((?:module_)?propensity(?:_given_above)?)"\s*:\s*(?:null|-?NaN|-?Infinity|")')
_PROPENSITY_FIELD = re.compile("((?:module_)?propensity(?:_given_above)?)`")
GIVEN, GIVEN_ABOVE, OF_MODULE = "propensity", "propensity_given_above", "module_propensity"  # fields of an event or a slot
ZERO, NO_NUMBER, OUT_OF_RANGE = "0", "no number", "below 0 or above 1"
Errors = dict[str, tuple[int, int]]  # what is wrong -> how often, line of the first


@dataclass(slots=True, kw_only=True)
class LoggedRounds(ABC):
    """What estimators read of a log, whether its arms are items (`Rounds`) or strategies (`StrategyRounds`)."""

    arms: list[str]
    arm: Array  # int [N], index into `arms`
    position: Array  # int [N]: what an arm's reward may depend on, beside the arm
    propensity: Array  # float [N]; NaN where the log has none
    conditional_propensity: Array  # float [N], given the items above in the slate; NaN where the log has none of that kind
    request: Array  # int [N], 0 … U − 1: rounds of one request are one cluster
    request_ids: list[str]  # [U]; empty where the request has no id
    listed: Array  # bool [N]: the request has an id, and so its slate is known
    order: Array  # int [N]: rounds by request, each slate from the top
    ts: Array  # int [N]
    acts: int  # feedback that belongs to an exposure, or should
    unjoined: int  # of these, without an exposure in the log
    late: int  # of these, after their exposure had closed: not counted as a reward
    rejected: int
    bad: Errors  # of propensities
    marginal: bool = False  # propensities are marginal over the items above, as Segue logs its own; else conditional on them
    surface: str | None = None  # of strategies: page or list
    unseen: int = 0  # slates of strategies that were on no screen as far as is known
    named: int = 0  # slates whose request named the strategy, of all surfaces
    missing: tuple[int, int] | None = None  # rounds without a propensity: how many, and the line of the first
    rounded: int = 0  # propensities that rounding had brought above 1
    mostly_rejected: str | None = None  # where more than half of the log was rejected: how many, and the first one

    @property
    def coverage(self) -> float:
        """Share of rounds with a propensity."""
        return float(np.isfinite(self.propensity).mean()) if len(self.arm) else 0.0

    @property
    def join_rate(self) -> float:
        """Share of acts whose exposure is in the log."""
        return 1 - self.unjoined / self.acts if self.acts else 1.0

    @abstractmethod
    def add_arm(self, name: str) -> None:
        """Add an arm that only a policy knows."""

    @abstractmethod
    def reward(self, name: str) -> Array:
        """Float [N]."""

    @abstractmethod
    def complaint(self) -> str | None:
        """Why the log supports no estimate at all; None where it may."""


@dataclass(slots=True, kw_only=True)
class Rounds(LoggedRounds):
    """Rounds of items in the order of the log. `arms`: in order of their first round; the rest of the catalog behind them."""

    domains: list[str | None]  # of the arms
    published: Array  # float [A], ms: an arm is available from then on
    expires: Array  # float [A], ms: and until then
    record: Array  # int [N], which record of the log made the round, counted from 0
    module: Array  # int [N], index of the page's module, from the top; 0 where there are none
    modules: list[str | None]  # [N], its name
    labels: Array  # int [N], bit t = TASKS[t], then PLAY
    domain: list[str | None]  # of each round

    def add_arm(self, name: str) -> None:
        """Add an item that is always available, of no domain."""
        self.arms.append(name)
        self.domains.append(None)
        self.published, self.expires = np.append(self.published, -np.inf), np.append(self.expires, np.inf)

    def reward(self, name: str) -> Array:
        """[N] 0 or 1."""
        bit = PLAY if name == "play" else 1 << TASKS.index(name)
        return ((self.labels & bit) > 0).astype(float)

    def complaint(self) -> str | None:
        """What is wrong with the propensities; None where nothing is."""
        if not self.bad:
            return None
        return f"no propensity: {listed(self.bad)}; the others can't be trusted then, mend the source"


def listed(bad: Errors) -> str:
    """Errors as text.

    >>> listed({"`propensity` is 0": (2, 5)})
    '`propensity` is 0 (2 rows, first in line 5)'
    """
    return ", ".join(f"{what} ({n:,} rows, first in line {line:,})" for what, (n, line) in sorted(bad.items()))


def reach(propensity: float) -> str:
    """The largest weight that a propensity allows.

    >>> reach(0.2), reach(5e-324)
    ('5', 'beyond 1e+12')
    """
    return f"{1 / propensity:,.4g}" if propensity * MOST_WEIGHT >= 1 else f"beyond {MOST_WEIGHT:g}"


def count(bad: Errors, what: str, line: int) -> None:
    """Count an error of a line."""
    n, first = bad.get(what, (0, line))
    bad[what] = (n + 1, first)


class _Round(NamedTuple):
    """A row of `Rounds`."""

    exposure: int  # id
    record: int
    arm: int
    module: int
    module_name: str | None
    position: int
    propensity: float
    conditional_propensity: float
    request: int
    listed: bool
    domain: str | None
    ts: int


@dataclass(slots=True)
class RoundReader:
    """Builds rounds while a partition takes a log (`log_pass.py`)."""

    settings: PartitionSettings
    catalog: dict[str, Item] = field(default_factory=dict)
    _rounds: dict[int, _Round] = field(default_factory=dict)  # by exposure id
    _labels: dict[int, int] = field(default_factory=dict)  # by exposure id, as it closed
    _played: set[int] = field(default_factory=set)  # exposure ids
    _acts: Counter[int] = field(default_factory=Counter)  # by exposure id
    _waiting: set[tuple[str, str | None, str]] = field(default_factory=set)  # plays before their exposure: user, request, item
    _arms: dict[str, int] = field(default_factory=dict)
    _domains: list[str | None] = field(default_factory=list)
    _requests: dict[tuple[str, str], int] = field(default_factory=dict)  # user, request id
    _request_ids: list[str] = field(default_factory=list)
    _modules: dict[int, dict[str, int]] = field(default_factory=dict)  # request -> module -> its index
    _bad: Errors = field(default_factory=dict)
    _missing: tuple[int, int] | None = None
    _rounded: int = 0
    _marginal: bool = False
    _records: int = 0
    _waited: int = 0  # acts that found no exposure at first
    _unjoined: int = 0  # of these, never
    _late: int = 0
    _rejected: int = 0

    def observe(self, line: int, arrived: Arrived, effects: Effects, partition: Partition) -> None:
        """A record and its effects; see `LogObserver`."""
        record = arrived.record
        for out in effects.examples:
            if isinstance(out.record, Closed):
                self._labels.update(zip(out.record.ids, out.record.labels, strict=True))
        if isinstance(record, Rejected):
            self._rejected += 1
            self._count_rejected(record, line)
        elif effects.dead:
            self._rejected += 1
        elif isinstance(record, Exposure):
            for item in record.slots:
                self._expose(record, item, arrived, line, effects, partition)
        elif isinstance(record, Event):
            self._event(record, arrived, line, effects, partition)
        self._records += 1
        self._unjoined = partition.progress.counted.get("unjoined", 0)
        self._rounded = partition.progress.counted.get("rounded_propensities", 0)

    def rounds(self) -> Rounds:
        """All rounds so far, with the labels of those that have closed."""
        for item in self.catalog.values():
            self._arm(item.item_id, item.domain)
        items = [self.catalog.get(arm, Item(item_id=arm)) for arm in self._arms]
        rows = list(self._rounds.values())

        def column(name: str, dtype: type = np.int64) -> Array:
            return np.array([getattr(row, name) for row in rows], dtype)

        module, position, request = column("module"), column("position"), column("request")

        return Rounds(
            arms=list(self._arms), domains=self._domains,
            published=np.array([-np.inf if item.published_ts is None else item.published_ts for item in items], float),
            expires=np.array([-np.inf if item.hidden else np.inf if item.expires_ts is None else item.expires_ts for item in items], float),
            record=column("record"), arm=column("arm"), module=module, position=position,
            labels=np.array([self._labels.get(id_, 0) & LABELS | PLAY * (id_ in self._played) for id_ in self._rounds], np.int64),
            propensity=column("propensity", float), conditional_propensity=column("conditional_propensity", float),
            request=request, listed=column("listed", bool), order=np.lexsort((np.arange(len(rows)), position, module, request)),
            modules=[row.module_name for row in rows], domain=[row.domain for row in rows], request_ids=self._request_ids, ts=column("ts"),
            acts=self._waited + self._acts.total(),
            unjoined=self._unjoined + sum(n for id_, n in self._acts.items() if id_ not in self._rounds),
            late=self._late, rejected=self._rejected, bad=self._bad, marginal=self._marginal,
            missing=self._missing, rounded=self._rounded,
        )  # fmt: skip

    def _event(self, event: Event, arrived: Arrived, line: int, effects: Effects, partition: Partition) -> None:
        labels = interpret(event, self.settings)
        exposure = partition.exposed(event.user_id, event.item_id, event.request_id)
        played = Action.PLAY in (event.action, *event.also)
        if exposure is not None and (labels.impression or event.propensity is not None):
            self._expose(event, event, arrived, line, effects, partition)
        if not (labels.resolving or labels.undo):
            return
        if exposure is None:
            self._waited += 1
            if played:
                self._waiting.add((event.user_id, event.request_id, event.item_id))
            return
        self._acts[exposure.id] += 1
        if exposure.closed:
            self._late += exposure.id in self._rounds
        elif played:
            self._played.add(exposure.id)

    def _expose(
        self, record: Event | Exposure, item: Event | ExposedItem, arrived: Arrived, line: int, effects: Effects, partition: Partition
    ) -> None:  # fmt: skip
        """Add the round of an exposure, unless it has one."""
        exposure = partition.exposed(record.user_id, item.item_id, record.request_id)
        if exposure is None or exposure.id in self._rounds:
            return
        ours = isinstance(item, ExposedItem) and item.source is not None  # then null says that the propensity is not known
        unknown = ours and item.propensity is None
        propensity = conditional = float("nan") if unknown else self._propensity(GIVEN, item.propensity, arrived, line)
        if item.propensity is None:
            n, first = self._missing or (0, line)
            self._missing = n + 1, first
        request, module = self._request(record), item.module
        if isinstance(item, ExposedItem) and item.source is not None:  # Segue filled it, and logs propensities of both kinds
            self._marginal = True
            conditional = self._propensity(GIVEN_ABOVE, item.conditional_propensity, arrived, line)
            if item.module_propensity is not None and module not in self._modules.get(request, {}):
                # the first item brings the module with it
                conditional *= self._propensity(OF_MODULE, item.module_propensity, arrived, line)
        place = 0
        if module is not None:
            modules = self._modules.setdefault(request, {})
            place = modules.setdefault(module, len(modules))
        self._rounds[exposure.id] = _Round(
            exposure.id, self._records, self._arm(item.item_id, record.domain), place, module, item.position or 0, propensity, conditional,
            request, record.request_id is not None, record.domain, record.ts,
        )  # fmt: skip
        waiting = (record.user_id, record.request_id, item.item_id)
        if waiting in self._waiting:
            self._waiting.discard(waiting)
            if any(isinstance(out.record, Example) and out.record.id == exposure.id for out in effects.examples):
                self._played.add(exposure.id)

    def _request(self, record: Event | Exposure) -> int:
        """Index of the record's request; one of its own where it has no id."""
        if record.request_id is not None:
            known = self._requests.setdefault((record.user_id, record.request_id), len(self._request_ids))
            if known < len(self._request_ids):
                return known
        self._request_ids.append(record.request_id or "")
        return len(self._request_ids) - 1

    def _arm(self, item_id: str, domain: str | None) -> int:
        at = self._arms.get(item_id)
        if at is None:
            at = self._arms[item_id] = len(self._arms)
            item = self.catalog.get(item_id)
            self._domains.append(item.domain if item and item.domain is not None else domain)
        return at

    def _propensity(self, name: str, propensity: float | None, arrived: Arrived, line: int) -> float:
        """The propensity of a field, or NaN; what can't be one is counted."""
        if propensity is None and any(found[1] == name.encode() for found in _NO_NUMBER.finditer(arrived.raw)):
            count(self._bad, f"`{name}` is {NO_NUMBER}", line)  # a table's NaN comes as null
        elif propensity == 0:
            count(self._bad, f"`{name}` is {ZERO}", line)
        return propensity or float("nan")

    def _count_rejected(self, rejected: Rejected, line: int) -> None:
        """Count a rejection that a propensity caused."""
        named, unnumbered = _PROPENSITY_FIELD.search(rejected.detail), _NO_NUMBER.search(rejected.raw)
        if named is not None:
            out_of_range = "`float`" in rejected.detail and "=" in rejected.detail
            count(self._bad, f"`{named[1]}` is {OUT_OF_RANGE if out_of_range else NO_NUMBER}", line)
        elif unnumbered is not None:
            count(self._bad, f"`{unnumbered[1].decode()}` is {NO_NUMBER}", line)


def read(
    arrivals: Iterable[Numbered], settings: PartitionSettings, catalog: dict[str, Item], progress: Callable[[int, int], None]
) -> Rounds:
    """The rounds of a log."""
    reader = RoundReader(settings, catalog)
    mostly_rejected = observed(arrivals, settings, reader, catalog.values(), progress)
    rounds = reader.rounds()
    rounds.mostly_rejected = mostly_rejected
    return rounds
