"""How the panel writes numbers and tables."""
from __future__ import annotations

import io

from rich.console import Console

from streams.demo.panel_style import NONE, column, figure, table


def test_a_number_has_its_format_and_what_is_undefined_is_a_dash() -> None:
    assert (figure(0.25, ".1%"), figure(1_234, ","), figure(0, ",")) == ("25.0%", "1,234", "0")
    assert figure(None, ".3f") == NONE


def test_columns_are_two_spaces_apart_and_right_ones_end_together() -> None:
    out = table(column("task"), column("n", right=True), column("note"))
    out.add_row("skip", "7", "a")
    out.add_row("full_play", "10", "b")
    console = Console(file=io.StringIO(), width=40)
    with console.capture() as capture:
        console.print(out)
    assert [line.rstrip() for line in capture.get().splitlines()] == [
        "task        n  note",
        "skip        7  a",
        "full_play  10  b",
    ]
