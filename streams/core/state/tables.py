"""Tables: rows as objects by key, resident (replay) or a working set over a store (live).

Live, rows are read on demand, and the changed ones leave as bytes in one batch. Which of the two makes no difference to what
happens to an event, so there is one core for both. A resident table may overflow: beyond a bound it goes on over a store.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from streams.core.state.rows import PendingSlate, Progress, UserState

T = TypeVar("T")
Row = tuple[bytes, bytes]
_AWAY: Any = object()  # not resident


class Source(Protocol):
    """Where rows live that are not resident: one column family of the partition's store."""

    def get(self, keys: list[bytes]) -> list[bytes | None]:
        """The rows of keys, None where there is none."""

    def scan(self, first: bytes, end: bytes) -> Iterable[bytes]:
        """Keys from `first` up to `end`, without it."""


class RowStore(Source, Protocol):
    """A source that a table writes its own rows to."""

    def write(self, rows: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Set rows; None deletes."""

    def items(self) -> Iterable[Row]:
        """All rows, in the order of their keys."""


class Overflow(NamedTuple):
    """Where a resident table goes on when it has more rows than this."""

    rows: int
    open: Callable[[], RowStore]


class Table(Generic[T]):
    """Rows of one kind by key. Objects may be changed in place, then `put` again.

    Without a `source` everything stays resident (replay), up to `overflow`.
    """

    __slots__ = ("_changed", "_decode", "_encode", "_keep", "_overflow", "_rows", "_store", "source")

    def __init__(
        self, decode: Callable[[bytes], T], encode: Callable[[T], bytes], source: Source | None = None, keep: int = 50_000,
        overflow: Overflow | None = None,
    ) -> None:  # fmt: skip
        self._decode, self._encode, self._keep = decode, encode, keep
        self._rows: dict[bytes, T | None] = {}
        self._changed: dict[bytes, None] = {}
        self._overflow = overflow
        self._store: RowStore | None = None
        self.source = source

    @property
    def overflowed(self) -> bool:
        """Whether the rows lie in a store that the table opened: then `rows` come in the order of their keys."""
        return self._store is not None

    def get(self, key: bytes) -> T | None:
        """The row of a key, which is resident from then on; None where there is none."""
        if self.source is None or key in self._rows:
            return self._rows.get(key)
        return self.fetch([key])[0]

    def peek(self, key: bytes) -> T | None:
        """The row as it is or just was, for another thread: nothing is made resident. Not for rows that are changed in place."""
        row: T | None = self._rows.get(key, _AWAY)
        if row is not _AWAY:
            return row
        raw = self.source.get([key])[0] if self.source is not None else None
        return None if raw is None else self._decode(raw)

    def fetch(self, keys: list[bytes]) -> list[T | None]:
        """Make rows resident by one read, and return them."""
        if self.source is not None:
            missing = [k for k in dict.fromkeys(keys) if k not in self._rows]
            for key, raw in zip(missing, self.source.get(missing) if missing else [], strict=True):
                self._rows[key] = None if raw is None else self._decode(raw)
        return [self._rows.get(k) for k in keys]

    def put(self, key: bytes, row: T) -> None:
        """Set the row of a key."""
        if self.source is not None:
            self._rows.pop(key, None)  # so that the first rows are those that changed least recently
        self._rows[key] = row
        self._changed[key] = None

    def delete(self, key: bytes) -> None:
        """Remove the row of a key, if there is one."""
        if self.source is None:
            self._rows.pop(key, None)
        else:
            self._rows[key] = None
        self._changed[key] = None

    def changed(self) -> Iterator[bytes]:
        """Keys put or deleted since the last `settle`."""
        return iter(self._changed)

    def writes(self) -> list[tuple[bytes, bytes | None]]:
        """Rows changed since the last `settle`; None = deleted."""
        rows = ((k, self._rows.get(k)) for k in self._changed)
        return [(k, None if row is None else self._encode(row)) for k, row in rows]

    def settle(self) -> None:
        """The changes are durable; drop resident rows that can be read again: deleted ones and marks, then the oldest.

        A table that may overflow writes its changes itself, once it has.
        """
        if self._overflow is not None:
            self._write_overflow(self._overflow)
        if self.source is not None:
            for key in self._changed:
                if not self._rows[key]:
                    del self._rows[key]
            if len(self._rows) > self._keep:
                for key in list(islice(self._rows, len(self._rows) - self._keep // 2)):
                    del self._rows[key]
        self._changed.clear()

    def rows(self) -> Iterator[Row]:
        """Every resident row as bytes: in replay, all there are."""
        if self._store is not None:
            self.settle()
            yield from self._store.items()
            return
        for key, row in self._rows.items():
            if row is not None:
                yield key, self._encode(row)

    def _write_overflow(self, overflow: Overflow) -> None:
        if self._store is None and len(self._rows) > overflow.rows:
            self.source = self._store = overflow.open()
            self._changed = dict.fromkeys(self._rows)
        if self._store is not None:
            self._store.write(self.writes())


def _pending(source: Source | None) -> Table[PendingSlate | bytes]:
    """Lists as arrays; the rest (marks, and the list that an item was last shown in) as plain bytes."""
    decode, encode = msgspec.msgpack.Decoder(PendingSlate).decode, msgspec.msgpack.Encoder().encode
    return Table(
        lambda raw: decode(raw[1:]) if raw[:1] == b"L" else raw[1:],
        lambda row: b"=" + row if isinstance(row, bytes) else b"L" + encode(row),
        source,
    )


@dataclass(frozen=True, slots=True)
class ItemTables:
    """What the events of one partition say about items: a row an item in each table."""

    popularity: Table[bytes]  # decayed counts, see `online_model.popularity`
    co_listening: Table[bytes]  # the items played next, see `streams.core.join.co_listening`


@dataclass(slots=True)
class Tables:
    """The tables of one partition: resident, or over the column families of its store."""

    users: Table[UserState]
    pending: Table[PendingSlate | bytes]
    dedupe: Table[bytes]
    popularity: Table[bytes]
    co_listening: Table[bytes]
    meta: Table[Progress]

    @classmethod
    def over(cls, source: Callable[[str], Source | None] = lambda name: None, ids: Overflow | None = None) -> Tables:
        """`source(name)` gives the column family of a table; None keeps it resident. `ids`: where those that were seen overflow to."""
        return cls(
            users=Table(msgspec.msgpack.Decoder(UserState).decode, msgspec.msgpack.Encoder().encode, source("users")),
            pending=_pending(source("pending")),
            dedupe=Table(bytes, bytes, source("dedupe"), overflow=ids),
            popularity=Table(bytes, bytes, source("popularity")),
            co_listening=Table(bytes, bytes, source("co_listening")),
            meta=Table(msgspec.msgpack.Decoder(Progress).decode, msgspec.msgpack.Encoder().encode, source("meta")),
        )

    @property
    def items(self) -> ItemTables:
        """The tables of items alone."""
        return ItemTables(self.popularity, self.co_listening)

    def named(self) -> dict[str, Table[Any]]:
        """Every table by the name of its column family."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
