"""Reading beside the one who changes: another thread sees rows as they are, and leaves no trace."""
from __future__ import annotations

from collections.abc import Iterable

from online_model.popularity import of_item
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.join.state import Table, Tables


class Rows:
    """A store that counts what is read of it."""

    def __init__(self, rows: dict[bytes, bytes]) -> None:
        self.rows, self.read = rows, 0

    def get(self, keys: list[bytes]) -> list[bytes | None]:
        self.read += len(keys)
        return [self.rows.get(key) for key in keys]

    def scan(self, first: bytes, end: bytes) -> Iterable[bytes]:
        return [key for key in sorted(self.rows) if first <= key < end]


def test_peek_sees_what_get_sees_and_makes_nothing_resident() -> None:
    store = Rows({b"stored": b"1", b"changed": b"1", b"gone": b"1"})
    table = Table(bytes, bytes, store)
    table.put(b"changed", b"2")
    table.delete(b"gone")
    wanted = {b"stored": b"1", b"changed": b"2", b"gone": None, b"unknown": None}
    for _ in range(2):
        assert {key: table.peek(key) for key in wanted} == wanted
    assert store.read == 4  # twice the two that are not resident: neither became so
    assert {key: table.get(key) for key in wanted} == wanted


def test_glance_is_item_counts() -> None:
    partition = Partition(PartitionSettings(), Tables.over(), Catalog(), 1, {0: Table(bytes, bytes), 1: Table(bytes, bytes)})
    item = keys.key("item", "i")
    decay = of_item()
    partition.foreign[0].put(item.to_bytes(8, "big"), decay.add(None, 500, (1.0,) * decay.columns))
    event = Event(ts=1_000, user_id="u", item_id="i", action=Action.PLAY)
    partition.apply([Arrived(0, 0, 1_000, event, "e")])
    at = 1_000 + 3_600_000
    # an hour on, at a half-life of one: a half of the play, and a little less of what came half a second before it
    assert partition.glance(item, at)[0] == 0.5 + 2.0 ** (-(at - 500) / 3_600_000)
    assert partition.glance(item, at) == partition.item_counts(item, at)
