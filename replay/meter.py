"""How much of a log has been read, for progress: bytes of its files as they lie, packed ones as they are packed.

    metered(files) ── a pass opens file after file ──► share()
                   └─ a sort has read them all: rows that it gives, of those it has

A reader deep inside an adapter says where it is without being handed anything: the meter is a variable of the context that a command sets.
Nothing that is computed depends on it. A log may be open more than once; the reading that began first counts.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import TypeVar

Row = TypeVar("Row")
Position = Callable[[], float]


class Meter:
    """The readings of a log that are under way."""

    def __init__(self, sizes: Mapping[Path, int]) -> None:
        """`sizes`: bytes of the files that are read one after the other."""
        self._before: dict[Path, tuple[int, int]] = {}  # bytes before a file, and its own
        self._total = 0
        for path, size in sizes.items():
            self._before[path] = self._total, size
            self._total += size
        self._readings: list[Position] = []  # of files or of a sort, the first that began before the others
        self._counts: list[Position] = []  # of rows where so many are asked for
        self._last: float | None = None

    def share(self) -> float | None:
        """Share of the log that has been read in the pass at hand; None where nobody can say."""
        known = [each[0]() for each in (self._readings, self._counts) if each]
        self._last = max(known) if known else self._last
        return self._last

    @contextmanager
    def reading(self, path: Path, position: Callable[[], int], end: int | None = None) -> Iterator[None]:
        """While a file is open; `position`: where it is read, of `end`, else of its bytes."""
        before, size = self._before.get(path, (0, 0))
        if not size:
            yield
            return
        with _among(self._readings, lambda: (before + min(1.0, position() / (end or size)) * size) / self._total):
            yield

    @contextmanager
    def giving(self, position: Position) -> Iterator[None]:
        """While a sort that has read all gives its rows."""
        with _among(self._readings, position):
            yield

    def first(self, rows: Iterable[Row], most: int) -> Iterator[Row]:
        """The first `most` rows."""
        given = 0
        with _among(self._counts, lambda: given / most):
            for row in islice(rows, most):
                given += 1
                yield row


_meter: ContextVar[Meter | None] = ContextVar("meter", default=None)


def meter() -> Meter:
    """The meter of the log that is being read; where nobody asks, one that nobody looks at."""
    return _meter.get() or Meter({})


@contextmanager
def metered(sizes: Mapping[Path, int]) -> Iterator[Meter]:
    """Count what is read of these files."""
    made = Meter(sizes)
    token = _meter.set(made)
    try:
        yield made
    finally:
        _meter.reset(token)


@contextmanager
def _among(readings: list[Position], position: Position) -> Iterator[None]:
    readings.append(position)
    try:
        yield
    finally:
        readings.remove(position)
