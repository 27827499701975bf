"""How a command prints: results on stdout, as JSON or for people; progress on stderr."""
from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import RenderableType


LINE_EVERY_S = 10.0  # of progress, where there is no terminal


def show(value: Any, lines: Iterable[str], as_json: bool) -> None:
    """The result of a command: one JSON document, or its lines for people.

    >>> show({"events": 3}, ["3 events"], as_json=False)
    3 events
    """
    if as_json:
        emit(value)
    else:
        for line in lines:
            print(line, flush=True)


def show_tables(value: Any, tables: Iterable[RenderableType], as_json: bool) -> None:
    """The result of a command: one JSON document, or tables (and lines, wrapped to the terminal) for people."""
    if as_json:
        emit(value)
        return
    from rich.console import Console

    Console().print(*tables, sep="\n")


def emit(value: Any) -> None:
    """One JSON document on stdout; what is undefined is null.

    >>> emit({"auc": float("nan")})
    {
      "auc": null
    }
    """
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)


def emit_line(value: Any) -> None:
    """One JSON line on stdout, at once: for a stream of records."""
    print(msgspec.json.encode(value).decode(), flush=True)


def utc(ms: int, form: str = "%Y-%m-%d %H:%M") -> str:
    """A time in ms, UTC, as people read it.

    >>> utc(1_700_002_800_000)
    '2023-11-14 23:00'
    """
    return f"{datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC):{form}}"


@contextmanager
def progress(unit: str, share: Callable[[], float | None] = lambda: None) -> Iterator[Callable[[int, int], None]]:
    """A line on stderr while work goes on, a new one now and then where that is no terminal.

    It is updated by calls with (how many are done, event time in ms or -1). `share`: of the work that is done, where it is known.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console, pace = Console(stderr=True), Pace(unit, time.monotonic())
    columns = (SpinnerColumn(), BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def update(done: int, watermark_ms: int) -> None:
            part = share()
            line = pace.line(done, part, watermark_ms, time.monotonic())
            if console.is_terminal:
                bar.update(task, description=line, completed=part or 0.0, total=None if part is None else 1.0)
            elif pace.due:
                print(f"segue: {line}", file=sys.stderr, flush=True)

        yield update


class Pace:
    """How fast work goes, and what that leaves to be done: since the first line of a pass, before which a log may have been sorted."""

    def __init__(self, unit: str, now_s: float) -> None:
        self.due = False  # whether a line is to be printed where there is no terminal
        self._unit, self._printed_s = unit, now_s
        self._first: tuple[float, int, float] | None = None  # of a pass: moment, done, share
        self._done = 0

    def line(self, done: int, share: float | None, watermark_ms: int, now_s: float) -> str:
        """The state of work, in words.

        >>> pace = Pace("rows", 100.0)
        >>> pace.line(500, 0.1, -1, 105.0), pace.due
        ('500 of about 5,000 rows, 10 %', False)
        >>> pace.line(1_500, 0.3, 1_700_002_800_000, 110.0), pace.due
        ('1,500 of about 5,000 rows, 30 %  200/s  0:00:18 left  2023-11-14 23:00 UTC', True)
        """
        if self._first is None or done < self._done:  # the log is read once more
            self._first = now_s, done, share or 0.0
        began_s, before, already = self._first
        self._done, took_s = done, now_s - began_s
        text = f"{done:,} {self._unit}"
        if share:
            text = f"{done:,} of about {round(done / share):,} {self._unit}, {100 * share:.0f} %"
        if took_s > 0:
            text += f"  {(done - before) / took_s:,.0f}/s"
        if share and share > already:
            text += f"  {datetime.timedelta(seconds=round(took_s * (1 - share) / (share - already)))} left"
        self.due = now_s - self._printed_s >= LINE_EVERY_S
        self._printed_s = now_s if self.due else self._printed_s
        return text + (f"  {utc(watermark_ms)} UTC" if watermark_ms > 0 else "")
