"""One pass of a log: every record with its effects, and the tick that closes all joins at the end."""
from __future__ import annotations

from collections import deque

from online_model.features import Closed
from replay.log_rows import LogRow
from replay.off_policy.log_pass import PROGRESS_EVERY, apply_records, observed
from replay.prequential import CLOSING, of_file
from streams.core.join import keys
from streams.core.join.events import Event, Record, Rejected
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived, Effects
from streams.core.join.settings import PartitionSettings

T = 1_704_067_200_000


class Seen:
    """An observer that keeps what it is handed."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.records: list[Record | Rejected] = []
        self.closed = 0
        self.items = 0

    def observe(self, line: int, arrived: Arrived, effects: Effects, partition: Partition) -> None:
        self.lines.append(line)
        self.records.append(arrived.record)
        self.closed += sum(len(out.record.ids) for out in effects.examples if isinstance(out.record, Closed))
        self.items = sum(partition.catalog.get(keys.key("item", item)) is not None for item in "ijk")


def impressions(n: int) -> list[LogRow]:
    text = '{"event_id": "e%d", "ts": %d, "user_id": "u%d", "item_id": "i", "action": "impression"}'
    return [LogRow(at + 1, (text % (at, T + at, at)).encode(), None) for at in range(n)]


def test_observer_sees_every_record_and_then_the_tick_that_closes_all_joins() -> None:
    seen = Seen()
    rows = [*impressions(3), LogRow(4, b"{", None)]
    lines = [line for line, _, _ in apply_records(of_file(rows), PartitionSettings(), [seen], [Item(item_id="i"), Item(item_id="j")])]
    assert lines == [1, 2, 3, 4] and seen.lines == [1, 2, 3, 4, 0]
    assert [type(record) for record in seen.records[:4]] == [Event, Event, Event, Rejected] and seen.records[4] == CLOSING
    assert (seen.closed, seen.items) == (3, 2)


def test_joins_close_only_once_the_pass_is_exhausted() -> None:
    seen = Seen()
    passed = apply_records(of_file(impressions(3)), PartitionSettings(), [seen])
    for _ in range(3):
        next(passed)
    assert seen.closed == 0
    deque(passed, maxlen=0)
    assert seen.closed == 3


def test_progress_is_told_at_every_thousandth_record() -> None:
    told: list[tuple[int, int]] = []
    observed(
        of_file(impressions(2 * PROGRESS_EVERY + 1)), PartitionSettings(), Seen(), [], lambda records, total: told.append((records, total))
    )
    assert told == [(PROGRESS_EVERY, -1), (2 * PROGRESS_EVERY, -1)]
