"""All that a partition remembers: users, open joins, dedupe marks, popularity, and how they become bytes.

A `Table` holds rows as objects. In replay it is all there is; live it is a working set over RocksDB: rows are
read on demand, and the changed ones leave as bytes in one batch. Which of the two makes no difference to what
happens to an event, so there is one core for both.
"""
from __future__ import annotations

import heapq
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import xxhash

from streams.core.join.rewards import PendingReward

T = TypeVar("T")
Row = tuple[bytes, bytes]
_DUE = struct.Struct(">q")
FOREVER = 1 << 62  # ms
PROGRESS = b"progress"  # its key in `meta`
_AWAY: Any = object()  # not resident


class UserState(msgspec.Struct, array_like=True):
    """A user: behaviours by domain (positive, negative), decayed counts, and what was lately shown."""

    histories: dict[int, tuple[bytes, bytes]] = {}
    counts: bytes = b""
    by_domain: dict[int, bytes] = {}  # least recently changed first
    by_category: dict[int, bytes] = {}
    shown: bytes = b""  # (item uint64, ts int64) rows, oldest first
    related: dict[int, bytes] = {}  # artist or category -> its last behaviours of both families; least recently changed first

    @property
    def liked(self) -> list[bytes]:
        """What the user liked, packed, of each domain, in the order of `histories`."""
        return [positive for positive, _ in self.histories.values()]


class PendingFeedback(msgspec.Struct, array_like=True):
    """An act that waits for its exposure."""

    item: int
    ts: int
    arrival_ms: int
    mask: int  # labels it sets, bit t = TASKS[t]
    resolving: bool
    undo: bool  # takes a collect back


class UserPart(msgspec.Struct, frozen=True, array_like=True):
    """The half of the features that all candidates of one moment share."""

    user: int
    context: bytes
    user_attributes: bytes
    positive: bytes
    negative: bytes
    domains: bytes
    counts: bytes  # float32 [len(COUNTS)]


class PendingExposure(msgspec.Struct, array_like=True):
    """One exposed item of a list, with its own half of the features."""

    id: int
    item: int
    shown_ms: int
    fields: bytes
    item_features: bytes
    related: bytes
    counts: bytes
    popularity: bytes
    age_s: float
    part: int = 0  # which of its list's parts has the user's half
    labels: int = 0  # as they stand now
    made: bool = False  # the learner has its example
    changes: int = 0  # reversals sent
    closed: bool = False  # its join window has passed
    implied: bool = False  # made by an act that came without an exposure of its own
    followed: float = 0.0  # share of its followers that it has of the user's last item


class PendingSlate(msgspec.Struct, array_like=True):
    """What one request (or one impression without a request id) showed to a user, until it is forgotten."""

    open: bool = False  # something in it waits for its window to close
    slots: list[PendingExposure] = []  # in order of arrival
    parts: list[UserPart] = []  # one a moment at which slots were shown
    waiting: list[PendingFeedback] = []  # for an exposure that has not come
    choice: PendingReward | bool = False  # how its strategy was chosen; True: and what it earned has been said

    def slot(self, item: int) -> PendingExposure | None:
        for slot in self.slots:
            if slot.item == item:
                return slot
        return None


class Progress(msgspec.Struct, array_like=True):
    """Where the partition's event time stands, and what was counted on the way."""

    watermark_ms: int = -1
    in_log: bool = False  # between log-begin and the closing tick: no ticks of the worker's own
    open_lists: int = 0
    counted: dict[str, int] = {}
    log: int = 0  # hash of the ids of all records admitted, in order

    def count(self, what: str, n: int = 1) -> None:
        self.counted[what] = self.counted.get(what, 0) + n


class Source(Protocol):
    """Where rows live that are not resident: one column family of the partition's store."""

    def get(self, keys: list[bytes]) -> list[bytes | None]: ...

    def scan(self, first: bytes, end: bytes) -> Iterable[bytes]:
        """Keys from `first` up to `end`, without it."""


class Table(Generic[T]):
    """Rows of one kind by key. Objects may be changed in place, then `put` again.

    Without a `source` everything stays resident (replay).
    """

    __slots__ = ("_changed", "_decode", "_encode", "_keep", "_rows", "source")

    def __init__(self, decode: Callable[[bytes], T], encode: Callable[[T], bytes], source: Source | None = None, keep: int = 50_000):
        self._decode, self._encode, self._keep = decode, encode, keep
        self._rows: dict[bytes, T | None] = {}
        self._changed: dict[bytes, None] = {}
        self.source = source

    def get(self, key: bytes) -> T | None:
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
        if self.source is not None:
            self._rows.pop(key, None)  # so that the first rows are those that changed least recently
        self._rows[key] = row
        self._changed[key] = None

    def delete(self, key: bytes) -> None:
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
        """The changes are durable; drop resident rows that can be read again: deleted ones and marks, then the oldest."""
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
        for key, row in self._rows.items():
            if row is not None:
                yield key, self._encode(row)


class EventTimers:
    """Keys that come due in event time, kept in a table's rows so that a restart finds them.

    Only those due before a horizon are in memory; the rest are read, a step ahead, when time gets there.
    """

    def __init__(self, table: Table[Any], prefix: bytes, step_ms: int) -> None:
        self._table, self._prefix, self._step_ms = table, prefix, step_ms
        self._heap: list[bytes] = []
        self._horizon_ms = FOREVER if table.source is None else -1

    def add(self, due_ms: int, key: bytes) -> None:
        mark = self._prefix + _DUE.pack(due_ms) + key
        if due_ms <= self._horizon_ms:
            heapq.heappush(self._heap, mark)
        if self._table.source is not None:
            self._table.put(mark, b"")

    def due(self, until_ms: int) -> Iterator[bytes]:
        """Take the keys due at or before `until_ms`, in order of time, then key; equal marks count once."""
        if until_ms > self._horizon_ms:
            self._read(self._horizon_ms, until_ms + self._step_ms)
            self._horizon_ms = until_ms + self._step_ms
        return self._take(until_ms)

    def all(self) -> Iterator[bytes]:
        """Take every key, in the same order."""
        self._read(self._horizon_ms, FOREVER)
        return self._take(FOREVER)

    def _take(self, until_ms: int) -> Iterator[bytes]:
        end, last = self._prefix + _DUE.pack(until_ms + 1), b""
        while self._heap and self._heap[0] < end:
            mark = heapq.heappop(self._heap)
            if mark == last:
                continue
            last = mark
            if self._table.source is not None:
                self._table.delete(mark)
            yield mark[len(self._prefix) + _DUE.size :]

    def _read(self, after_ms: int, until_ms: int) -> None:
        """Into memory: the marks of the table due after one time and until another. None of them was taken yet."""
        if self._table.source is None:
            return
        first, end = (self._prefix + _DUE.pack(t + 1) for t in (after_ms, until_ms))
        marks = {k for k in self._table.changed() if first <= k < end}
        marks.update(self._table.source.scan(first, end))
        self._heap += marks
        heapq.heapify(self._heap)


def _same(raw: bytes) -> bytes:
    return raw


def _pending(source: Source | None) -> Table[PendingSlate | bytes]:
    """Lists as arrays; the rest (marks, and the list that an item was last shown in) as plain bytes."""
    decode, encode = msgspec.msgpack.Decoder(PendingSlate).decode, msgspec.msgpack.Encoder().encode
    return Table(
        lambda raw: decode(raw[1:]) if raw[:1] == b"L" else raw[1:],
        lambda row: b"=" + row if isinstance(row, bytes) else b"L" + encode(row),
        source,
    )


@dataclass(slots=True)
class Tables:
    """The tables of one partition: resident, or over the column families of its store."""

    users: Table[UserState]
    pending: Table[PendingSlate | bytes]
    dedupe: Table[bytes]
    popularity: Table[bytes]
    meta: Table[Progress]

    @classmethod
    def over(cls, source: Callable[[str], Source | None] = lambda name: None) -> Tables:
        """`source(name)` gives the column family of a table; None keeps it resident."""
        return cls(
            users=Table(msgspec.msgpack.Decoder(UserState).decode, msgspec.msgpack.Encoder().encode, source("users")),
            pending=_pending(source("pending")),
            dedupe=Table(_same, _same, source("dedupe")),
            popularity=Table(_same, _same, source("popularity")),
            meta=Table(msgspec.msgpack.Decoder(Progress).decode, msgspec.msgpack.Encoder().encode, source("meta")),
        )

    def named(self) -> dict[str, Table[Any]]:
        return {n: getattr(self, n) for n in ("users", "pending", "dedupe", "popularity", "meta")}


MARKS = {"pending": (b"o", b"x"), "dedupe": (b"t",)}  # first bytes of their keys: they follow from the rows beside them


def digest(rows: Mapping[str, Iterable[Row]]) -> dict[str, str]:
    """A hash per kind of row, over all rows in key order, marks left out: equal states, equal digests.

    `progress` is event time and what was admitted in which order, so that no event can be dropped, doubled or swapped
    unseen, even where the others commute. What was rejected or counted leaves no trace.
    """
    out = {}
    for name in ("users", "pending", "dedupe", "popularity"):
        h = xxhash.xxh3_128()
        marks = MARKS.get(name, ())
        for key, raw in sorted((k, v) for k, v in rows[name] if k[:1] not in marks):
            h.update(len(key).to_bytes(4, "little") + key + len(raw).to_bytes(4, "little") + raw)
        out[name] = h.hexdigest()
    progress = next((msgspec.msgpack.decode(raw, type=Progress) for key, raw in rows["meta"] if key == PROGRESS), Progress())
    passed = msgspec.msgpack.encode((progress.watermark_ms, progress.open_lists, progress.log))
    out["progress"] = xxhash.xxh3_128_hexdigest(passed)
    return out
