"""One figure of a benchmark: ours, a baseline that ran beside it, and what the ratio shall be."""
from __future__ import annotations

from collections.abc import Iterable

import msgspec
from rich.box import SIMPLE_HEAD
from rich.table import Table


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` = ours / baseline; for times smaller is better, for rates larger. `budget`: DESIGN.md's, where it has one."""

    what: str
    unit: str
    ours: float
    baseline: str
    theirs: float
    budget: str = ""
    interval: tuple[float, float] | None = None  # of the ratio, 95 %, where it was measured

    @property
    def ratio(self) -> float:
        """How many times the baseline."""
        return self.ours / self.theirs


def table(figures: Iterable[Figure]) -> Table:
    """For a terminal."""
    out = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("what", "ours", "baseline", "theirs", "ratio", "budget"):
        out.add_column(column, justify="left" if column in ("what", "baseline", "budget") else "right")
    for f in figures:
        within = f" [{f.interval[0]:.2f}, {f.interval[1]:.2f}]" if f.interval else ""
        out.add_row(f.what, f"{f.ours:,.4g} {f.unit}", f.baseline, f"{f.theirs:,.4g} {f.unit}", f"{f.ratio:.2f}{within}", f.budget)
    return out
