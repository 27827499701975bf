"""The external sort of a log: runs that fit into memory are sorted and stored, then merged as they are read."""
from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO

import msgspec

from replay.log_rows import LogRow
from replay.meter import meter

RUN_BYTES = 256 << 20  # of one run in memory
ROW_BYTES = 400  # of a row beside its own bytes, as Python holds it
LENGTH = 4  # bytes before each stored row

Timed = tuple[int, int, LogRow]  # time, place in the log: no two rows compare by more than these
_stored = msgspec.msgpack.Decoder(Timed)


def by_time(timed: Iterable[tuple[int, LogRow]], run_bytes: int = RUN_BYTES) -> Iterator[LogRow]:
    """The rows by their times; rows of one time stay in their order.

    >>> [row.line for row in by_time([(7, LogRow(1, b"", 7)), (3, LogRow(2, b"", 3)), (7, LogRow(3, b"", 7))], run_bytes=1)]
    [2, 1, 3]
    """
    with ExitStack() as stack:
        stored: list[IO[bytes]] = []
        run: list[Timed] = []
        size, place = 0, 0
        for place, (time, row) in enumerate(timed):
            run.append((time, place, row))
            size += ROW_BYTES + len(row.raw)
            if size >= run_bytes:
                stored.append(_store(run, stack.enter_context(TemporaryFile())))
                run, size = [], 0
        run.sort()
        given = 0
        stack.enter_context(meter().giving(lambda: given / (place + 1)))
        for _, _, row in heapq.merge(*(_read(file) for file in stored), run):
            given += 1
            yield row


def _store(run: list[Timed], file: IO[bytes]) -> IO[bytes]:
    run.sort()
    for timed in run:
        packed = msgspec.msgpack.encode(timed)
        file.write(len(packed).to_bytes(LENGTH, "big") + packed)
    file.seek(0)
    return file


def _read(file: IO[bytes]) -> Iterator[Timed]:
    while length := file.read(LENGTH):
        yield _stored.decode(file.read(int.from_bytes(length, "big")))
