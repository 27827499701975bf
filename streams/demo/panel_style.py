"""The look of the panel: its colours, its tables, and how it writes a number."""
from __future__ import annotations

from rich.table import Column, Table

NONE = "–"
GOOD, BAD, QUIET, LABEL, CURVE = "bold green", "bold red", "bright_black", "cyan", "blue"


def figure(value: float | None, form: str) -> str:
    """A number in a format; NONE where there is none.

    >>> figure(1234.5, ",.0f"), figure(None, ",.0f")
    ('1,234', '–')
    """
    return NONE if value is None else format(value, form)


def column(heading: str, style: str = "", right: bool = False) -> Column:
    """A column that does not wrap."""
    return Column(heading, style=style, justify="right" if right else "left", no_wrap=True)


def table(*columns: Column) -> Table:
    """A table without lines, two spaces between its columns."""
    return Table(*columns, box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=QUIET)
