"""Wrong clocks in a log without arrival times: what is ahead of the records that stand behind it.

Live, an event that is ahead of its arrival is rejected, so that one fast clock does not make everybody else late. A file in order of
arrival tells the same: an honest clock is not ahead of what arrived later. So a row that is ahead of a quarter of those behind it, by more
than the core allows, arrived at the time of that quarter, and the core rejects it.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from replay.log_files import LogError
from replay.log_rows import LogRow

Timed = tuple[Path, LogRow, int | None]  # the file and one of its rows; its time, None where the core will reject it

BEHIND = 32  # rows behind one that it is compared with


def in_order(rows: Iterable[Timed], allowed_ms: int) -> Iterator[LogRow]:
    """The rows of a log in order of time; one that is ahead of those behind it by more than `allowed_ms` gets its arrival instead.

    Raises LogError where a row is older than one before it, or where most are ahead: then the log is in another order.
    """
    last, ahead = -1, 0
    for path, row, time, behind in _before(rows):
        if time is None or row.arrival_ms is not None or (arrival_ms := _arrival_ms(time, behind, allowed_ms)) is None:
            ahead = max(0, ahead - 1)
            if time is not None and time < last:
                raise _disorder(path, row, time, last)
            last = last if time is None else time
            yield row
        else:
            ahead += 1
            if ahead > BEHIND:  # no clock is wrong: the newest stands first
                raise _disorder(*behind[0][:2], arrival_ms, time or 0)
            yield row._replace(arrival_ms=arrival_ms)


def _disorder(path: Path, row: LogRow, time: int, last: int) -> LogError:
    return LogError(f"{path}:{row.line}: out of time order: {time} comes after {last}; pass --sort to order the log first")


def _before(rows: Iterable[Timed]) -> Iterator[tuple[Path, LogRow, int | None, deque[Timed]]]:
    """Each row with those behind it."""
    waiting: deque[Timed] = deque()
    for timed in rows:
        waiting.append(timed)
        if len(waiting) > BEHIND:
            yield *waiting.popleft(), waiting
    while waiting:
        yield *waiting.popleft(), waiting


def _arrival_ms(time: int, behind: Iterable[Timed], allowed_ms: int) -> int | None:
    """The time that a quarter of those behind are no later than; None where it is not further back than what is allowed."""
    times = [other for _, _, other in behind if other is not None]
    if not times or min(times) >= time - allowed_ms:
        return None
    arrival_ms = sorted(times)[(len(times) - 1) // 4]
    return arrival_ms if arrival_ms < time - allowed_ms else None
