"""Exposures that are predicted between the records of a log and never learned from.

`HoldoutRows`: a second log of the same days, such as one drawn uniformly, on which a model is measured that learned from what a policy
exposed. Labels are each row's own acts, as KuaiRand and Open Bandit have them. Rows are predicted in groups, by the parameters as they
stand when a group is full.
`Tail`: the log's own end, predicted as a whole when it begins. Neither parameters nor histories and counts move after that: with counts
that move, a user's own rate falls behind its every act, and AUC within users falls below what the order is worth. Nor does the time
move that counts fade by: days later, frozen counts would say of every item that nobody looks at it any more. Labels come with the log
itself.

Features are those that serving would make of the first log's state (`FeatureView`); what is predicted here enters neither state nor
parameters.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Protocol

import numpy as np

from online_model.batch import Batch, of_features
from online_model.features import Closed, Features
from replay.evidence.ledger import Ledger
from replay.log_rows import LogError
from replay.prequential import BATCH, Numbered
from streams.core.join import keys
from streams.core.join.events import Context, Event, Exposure, Rejected
from streams.core.join.features_view import NEVER, UserMoment
from streams.core.join.join import exposure_id
from streams.core.join.labels import LABELS, interpret
from streams.core.join.partition import Partition
from streams.core.join.records import Outgoing

GROUP = 64  # rows predicted at once, as many as a micro-batch has


class Stop(Protocol):
    """What is done between two records of a log."""

    def due(self, moment_ms: int) -> bool:
        """Whether there is something to predict before a record of this moment is applied."""

    def look(self, moment_ms: int) -> None:
        """Predict what is due; the records before this moment are applied."""

    def end(self) -> None:
        """The log is over."""


def stopping(stops: Sequence[Stop]) -> Callable[[Iterator[Numbered]], Iterator[list[Numbered]]]:
    """Cuts records into batches, for `prequential.run`, so that each stop comes when it is due."""

    def batches(numbered: Iterator[Numbered]) -> Iterator[list[Numbered]]:
        batch: list[Numbered] = []
        for line, arrived in numbered:
            moment_ms = -1 if isinstance(arrived.record, Rejected) else arrived.record.ts
            due = [stop for stop in stops if moment_ms >= 0 and stop.due(moment_ms)]
            if batch and (due or len(batch) >= BATCH):
                yield batch
                batch = []
            for stop in due:
                stop.look(moment_ms)
            batch.append((line, arrived))
        if batch:
            yield batch
        for stop in stops:
            stop.end()

    return batches


def of_acts(rows: Iterable[Numbered]) -> Iterator[Numbered]:
    """The rows. Raises LogError at one whose acts come in other rows: its labels would all be 0."""
    for line, arrived in rows:
        record = arrived.record
        apart = "an exposure" if isinstance(record, Exposure) else None
        if isinstance(record, Event) and record.request_id is not None:
            apart = f"request_id {record.request_id[:60]!r}"
        if apart is not None:
            raise LogError(f"second log, row {line}: {apart}, whose acts may come in other rows; each row has to hold its own (`also`)")
        yield line, arrived


class HoldoutRows:
    """A second log, each row at its own time."""

    def __init__(self, rows: Iterable[Numbered], partition: Partition, ask: Callable[[Batch], None], ledger: Ledger) -> None:
        """`ask` predicts a batch into the ledger."""
        self._partition, self._ask, self._ledger = partition, ask, ledger
        self._events = (arrived.record for _, arrived in of_acts(rows) if isinstance(arrived.record, Event))
        self._next = next(self._events, None)
        self._group: list[Features] = []
        self._labels: list[int] = []
        self._n = 0

    def due(self, moment_ms: int) -> bool:
        """Whether a row before this moment waits."""
        return self._next is not None and self._next.ts < moment_ms

    def look(self, moment_ms: int) -> None:
        """Take all rows before this moment; predict them in groups."""
        while (event := self._next) is not None and event.ts < moment_ms:
            part = featured(self._partition, event.user_id, event.context, event.ts)
            self._group.append(part(event.item_id, event.domain, event.module, event.position))
            self._labels.append(interpret(event, self._partition.settings).mask & LABELS)
            if len(self._group) >= GROUP:
                self._predict()
            self._next = next(self._events, None)

    def end(self) -> None:
        """Predict what is left."""
        self.look(1 << 62)
        if self._group:
            self._predict()

    def _predict(self) -> None:
        batch = of_features(self._group)
        ids = range(self._n, self._n + len(batch))
        batch.ids = np.array(ids, np.uint64)
        self._n = ids.stop
        self._ledger.exposed(batch)
        self._ask(batch)
        self._ledger.learned([Outgoing(0, 0, 0, Closed(0, list(ids), self._labels, 0))])
        self._group, self._labels = [], []


class Tail:
    """All exposures of the log itself from a moment on, predicted at that moment."""

    def __init__(self, rows: Callable[[], Iterable[Numbered]], partition: Partition, ask: Callable[[Batch], None], from_ms: int) -> None:
        """`rows`: the log once more. `ask` predicts a batch, whose ids are those that the exposures will have."""
        self._rows, self._partition, self._ask, self._from_ms = rows, partition, ask, from_ms
        self._done = False

    def due(self, moment_ms: int) -> bool:
        """Whether the tail begins with a record of this moment."""
        return not self._done and moment_ms >= self._from_ms

    def look(self, moment_ms: int) -> None:
        """Predict the whole tail."""
        self._done = True
        exposures = self._exposures()
        while group := list(islice(exposures, GROUP)):
            batch = of_features([features for _, features in group])
            batch.ids = np.array([id_ for id_, _ in group], np.uint64)
            self._ask(batch)

    def end(self) -> None:
        """Nothing is left."""

    def _exposures(self) -> Iterator[tuple[int, Features]]:
        """Exposures with the ids that the join will give them, if it takes them as they come."""
        for _, arrived in self._rows():
            record = arrived.record
            if not isinstance(record, Event | Exposure) or record.ts < self._from_ms:
                continue
            user = keys.key("user", record.user_id)
            request = record.request_id
            once = ("request", request) if request is not None else ("event", record.event_id or arrived.default_id)
            part = featured(self._partition, record.user_id, record.context, self._from_ms)
            for item in record.slots if isinstance(record, Exposure) else (record,):
                id_ = exposure_id(user, keys.uncached(*once), keys.key("item", item.item_id), record.ts)
                yield id_, part(item.item_id, record.domain, item.module, item.position)


def featured(machine: Partition, user_id: str, context: Context, ts: int) -> Callable[[str, str | None, str | None, int | None], Features]:
    """Makes features of an item (with domain, module, position) for a user at a moment, as the state stands."""
    user = keys.key("user", user_id)
    state = machine.user(user) or NEVER
    part, moment = (
        machine.view.user_part(user, state, context, ts),
        UserMoment(machine.view, user, state, ts, machine.signals.nearness(state, ts)),
    )

    def made(item_id: str, domain: str | None, module: str | None, position: int | None) -> Features:
        item = keys.key("item", item_id)
        known = machine.catalog.get(item)
        where = keys.key("domain", domain) if domain is not None else known.domain if known else 0
        return moment.exposure(item, known, where, keys.optional("module", module), position, machine.item_counts).features(part)

    return made
