"""What a command says: JSON on stdout, progress on stderr."""
from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec


def emit(value: Any) -> None:
    """One JSON document on stdout; what is undefined is null."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode(), flush=True)


def emit_line(value: Any) -> None:
    """One JSON line on stdout, at once: for what goes on."""
    print(msgspec.json.encode(value).decode(), flush=True)


@contextmanager
def progress(unit: str) -> Iterator[Callable[[int, int], None]]:
    """A line on stderr while work is long: (how many, event time in ms or -1)."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,} " + unit), TextColumn("{task.fields[pace]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, pace="")

        def told(done: int, watermark_ms: int) -> None:
            pace = f"{done / (bar.tasks[0].elapsed or 1.0):,.0f}/s"
            if watermark_ms > 0:
                pace += f"  {datetime.datetime.fromtimestamp(watermark_ms / 1000, datetime.UTC):%Y-%m-%d %H:%M} UTC"
            bar.update(task, completed=done, pace=pace)

        yield told
