"""A second log of the same days that is only predicted: what chance has shown judges a model that learned from what a policy showed.

Features are those of the first log alone, as of each exposure's moment (`View`, as serving builds them), labels the row's own acts;
nothing of this log enters state or parameters. So each of its rows must hold its acts itself, as in KuaiRand and Open Bandit. Rows
are predicted in groups: by the parameters as they stand when a group is full.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from online_model.batch import Batch, of_features
from online_model.features import Closed, Features
from replay.ledger import Ledger
from replay.prequential import BATCH, Numbered
from streams.core import keys
from streams.core.acts import LABELS, meaning
from streams.core.events import Event, Rejected
from streams.core.partition import Partition
from streams.core.records import Outgoing
from streams.core.view import NEVER, features

GROUP = 64  # rows predicted at once, as many as a micro-batch has


class Judge:
    """Stops the first log where a row of the second is due."""

    def __init__(self, rows: Iterable[Numbered], partition: Partition, ask: Callable[[Batch], None], ledger: Ledger) -> None:
        """`ask` predicts a batch into the ledger."""
        self._partition, self._ask, self._ledger = partition, ask, ledger
        self._events = (arrived.record for _, arrived in rows if isinstance(arrived.record, Event))
        self._group: list[Features] = []
        self._labels: list[int] = []
        self._n = 0

    def batches(self, numbered: Iterator[Numbered]) -> Iterator[list[Numbered]]:
        """The first log in batches; behind each, what is due by then has been looked at."""
        batch: list[Numbered] = []
        due = next(self._events, None)
        for line, arrived in numbered:
            moment = None if isinstance(arrived.record, Rejected) else arrived.record.ts
            while due is not None and moment is not None and due.ts < moment:
                if batch:
                    yield batch
                    batch = []
                self._look(due)
                due = next(self._events, None)
            batch.append((line, arrived))
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
        while due is not None:
            self._look(due)
            due = next(self._events, None)
        self._predict()

    def _look(self, event: Event) -> None:
        machine = self._partition
        user, item = keys.key("user", event.user_id), keys.key("item", event.item_id)
        state, known = machine.user(user) or NEVER, machine.catalog.get(item)
        domain = keys.key("domain", event.domain) if event.domain is not None else known.domain if known else 0
        part = machine.view.user(user, state, event.context, event.ts)
        slot = machine.view.slot(user, state, item, known, domain, event.module, event.position, event.ts, machine.item_counts)
        self._group.append(features(part, slot))
        self._labels.append(meaning(event, machine.settings).mask & LABELS)
        if len(self._group) >= GROUP:
            self._predict()

    def _predict(self) -> None:
        if not self._group:
            return
        batch = of_features(self._group)
        ids = range(self._n, self._n + len(batch))
        batch.ids = np.array(ids, np.uint64)
        self._n = ids.stop
        self._ledger.shown(batch)
        self._ask(batch)
        self._ledger.closed([Outgoing(0, 0, 0, Closed(0, list(ids), self._labels, 0))])
        self._group, self._labels = [], []
