"""A figure's ratio, and the table that shows it."""
from __future__ import annotations

from io import StringIO

from rich.console import Console

from benchmarks.figure import Figure, table


def test_the_table_shows_ours_the_baseline_and_how_many_times_it() -> None:
    figure = Figure(what="ingest", unit="events/s", ours=3_000.0, baseline="stock", theirs=2_000.0, budget=">= 1.3")
    assert figure.ratio == 1.5
    console = Console(width=120, file=StringIO())
    console.print(table([figure]))
    assert isinstance(console.file, StringIO)
    heads, row = (line.split() for line in console.file.getvalue().splitlines() if line.strip() and "─" not in line)
    assert heads == ["what", "ours", "baseline", "theirs", "ratio", "budget"]
    assert row == ["ingest", "3,000", "events/s", "stock", "2,000", "events/s", "1.50", ">=", "1.3"]
