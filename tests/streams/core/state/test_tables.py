"""Tables: a table over a store is the resident one, and a reader beside the writer leaves no trace."""
from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from streams.core.state.tables import Overflow, Table
from tests.streams.core.join.test_partition import Stored

keys_ = st.sampled_from([b"a", b"b", b"c"])
steps = st.lists(st.tuples(st.sampled_from(["put", "delete", "get", "settle"]), keys_, st.binary(max_size=3)), max_size=40)


def _same(raw: bytes) -> bytes:
    return raw


@given(steps, st.integers(0, 3))
def test_a_table_over_a_store_answers_as_a_dict_whatever_is_resident(steps: list[tuple[str, bytes, bytes]], keep: int) -> None:
    store, wanted = Stored(), dict[bytes, bytes]()
    table = Table(_same, _same, store, keep=keep)
    for what, key, row in steps:
        match what:
            case "put":
                table.put(key, row)
                wanted[key] = row
            case "delete":
                table.delete(key)
                wanted.pop(key, None)
            case "get":
                assert table.get(key) == wanted.get(key)
                assert table.fetch([key, b"a"]) == [wanted.get(key), wanted.get(b"a")]
            case "settle":
                for changed, raw in table.writes():
                    store.rows.pop(changed, None) if raw is None else store.rows.update({changed: raw})
                table.settle()
                assert store.rows == wanted
                assert len(list(table.rows())) <= max(keep, 3 - 3 * (keep < 3))


def test_the_rows_that_changed_last_stay_resident() -> None:
    table = Table(_same, _same, Stored(), keep=4)
    for key in (b"a", b"b", b"c", b"d", b"e", b"a"):
        table.put(key, b"row")
    table.settle()
    assert [key for key, _ in table.rows()] == [b"e", b"a"]  # past `keep`, half of it


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


class Opened(Rows):
    """A store that a table overflows to."""

    def __init__(self) -> None:
        super().__init__({})

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, raw in rows:
            self.rows.pop(key, None) if raw is None else self.rows.update({key: raw})

    def items(self) -> Iterable[tuple[bytes, bytes]]:
        return sorted(self.rows.items())


@given(steps, st.integers(0, 2))
def test_a_table_that_overflows_answers_as_one_that_stays_in_memory(steps: list[tuple[str, bytes, bytes]], most: int) -> None:
    opened: list[Opened] = []

    def open_store() -> Opened:
        opened.append(Opened())
        return opened[-1]

    tables = [Table(_same, _same, overflow=Overflow(most, open_store)), Table(_same, _same)]
    for what, key, row in steps:
        for table in tables:
            match what:
                case "put":
                    table.put(key, row)
                case "delete":
                    table.delete(key)
                case "settle":
                    table.settle()
        assert tables[0].get(key) == tables[1].get(key)
    assert sorted(tables[0].rows()) == sorted(tables[1].rows())
    assert tables[0].overflowed == bool(opened)
    assert len(opened) <= 1
