"""One pass of a log through the partition that runs live, with observers of every record and of what it caused.

Evaluation and validation see a log only through it: what the partition rejects is counted nowhere, and what it joins is what joins.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from replay.prequential import CLOSING, Numbered
from replay.wording import message
from streams.core.join.catalog import Catalog
from streams.core.join.events import Reason
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import Tables

SETTLE_EVERY = 1_000  # records after which the tables forget which of their rows have changed
PROGRESS_EVERY = 1_000  # records between two reports of progress


class LogObserver(Protocol):
    """Collects what it needs from a pass of a log."""

    def observe(self, line: int, arrived: Arrived, effects: Effects, partition: Partition) -> None:
        """A record and its effects, just after the partition applied it. The last one is the tick that closes all joins."""


def core_partition(settings: PartitionSettings, items: Iterable[Item]) -> Partition:
    """An empty partition with a catalog."""
    catalog = Catalog()
    for item in items:
        catalog.put(item)
    return Partition(settings, Tables.over(), catalog)


def apply_records(
    arrivals: Iterable[Numbered], settings: PartitionSettings, observers: Sequence[LogObserver], items: Iterable[Item] = ()
) -> Iterator[tuple[int, Arrived, Effects]]:
    """Each record with its line and its effects, in log order; once exhausted, all joins have closed."""
    partition = core_partition(settings, items)
    for number, (line, arrived) in enumerate(arrivals, 1):
        effects = partition.apply([arrived])
        for observer in observers:
            observer.observe(line, arrived, effects, partition)
        if number % SETTLE_EVERY == 0:
            for table in partition.tables.named().values():
                table.settle()
        yield line, arrived, effects
    closing = Arrived(1 << 62, 0, 0, CLOSING, "")
    effects = partition.apply([closing])
    for observer in observers:
        observer.observe(0, closing, effects, partition)


def observed(
    arrivals: Iterable[Numbered], settings: PartitionSettings, observer: LogObserver, items: Iterable[Item],
    progress: Callable[[int, int], None],
) -> str | None:  # fmt: skip
    """Run a whole log past one observer. `progress` gets the records so far, and -1 for an unknown time.

    Returns what the first rejection was where more than half of the records were rejected; what came twice is no rejection.
    """
    number, rejected, first = 0, 0, ""
    for number, (line, arrived, effects) in enumerate(apply_records(arrivals, settings, [observer], items), 1):
        for dead in effects.dead:
            if dead.reason is not Reason.DUPLICATE:
                first = first if rejected else f"line {line:,}: {message(dead.reason, dead.detail, dead.raw or arrived.raw)}"
                rejected += 1
        if number % PROGRESS_EVERY == 0:
            progress(number, -1)
    return f"{rejected:,} of {number:,} rows were rejected; the first in {first}" if 2 * rejected > number else None
