"""How a command prints: results on stdout, as JSON or for people; progress on stderr."""
from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import RenderableType


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
def progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A line on stderr while work goes on; it is updated by calls with (how many are done, event time in ms or -1)."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,} " + unit), TextColumn("{task.fields[pace]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, pace="")

        def update(done: int, watermark_ms: int) -> None:
            pace = f"{done / (bar.tasks[0].elapsed or 1.0):,.0f}/s"
            if watermark_ms > 0:
                pace += f"  {utc(watermark_ms)} UTC"
            bar.update(task, completed=done, pace=pace)

        yield update
