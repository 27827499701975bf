"""The strategies in the panel: what each is thought to earn and how often it is drawn, then by turns how its pages are, with curves."""
from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from streams.demo.panel_style import CURVE, LABEL, NONE, QUIET, figure
from streams.demo.readings import FIGURES, Readings, bars, squeezed

EARNS_S, TURN_S = 8.0, 4.0  # that the first table stands, and each of those with curves
_FIGURES, _REVENUE = 51, 9  # columns of a strategy's figures, and of its revenue where there is room
_FORMS = {"experience": ".3f", "revenue": ".3f", "regret": ".3f", "categories": ".2f", "overlap": ".3f", "items": ",d", "dislikes": ".1f"}
_VALUE, _GAP, _LEAST = 6, 2, 6  # columns of a value, between two figures, of the shortest curve


def rows(readings: Readings) -> int:
    """Lines that a table may need, without its header: ALL of a surface has one, too."""
    return sum(1 + len(of.strategies) for of in readings.surfaces.values())


def table(readings: Readings, width: int, most: int, passed_s: float) -> RenderableType:
    """A header and `most` lines; which table, time says."""
    if not readings.surfaces:
        return Text("no strategy has earned anything yet: that takes a join window", QUIET)
    figures = readings.strategies()
    names = max(len(name) for name in figures) + _GAP
    each = min(max((width - names) // (_VALUE + _LEAST + _GAP), 1), len(FIGURES))
    turns = -(-len(FIGURES) // each)
    turn = int((passed_s % (EARNS_S + turns * TURN_S) - EARNS_S) // TURN_S)
    if turn < 0:
        return _earns(readings, width, most)
    shown = FIGURES[turn * each : (turn + 1) * each]
    curve = min((width - names) // each - _VALUE - _GAP, 14)
    return _curves(readings, figures, shown, curve, most)


def _earns(readings: Readings, width: int, most: int) -> RenderableType:
    """What each strategy is thought to earn, and how often it is drawn for it."""
    surfaces = readings.surfaces
    found = [(f"{surface} {name}", s) for surface, of in surfaces.items() for name, s in of.strategies.items()]
    if len(found) > most:
        found = sorted(found, key=lambda row: -row[1].propensity)[: max(most, 1)]
    weight = next(iter(surfaces.values())).revenue_weight
    out = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=QUIET)
    heading = f"revenue weighs {weight:.2g}"
    out.add_column(heading, style=LABEL, no_wrap=True)
    for name in ("rounds", "chance"):
        out.add_column(name, justify="right", no_wrap=True)
    names = max(len(heading), *(len(name) for name, _ in found))
    earns = width >= names + _FIGURES + _REVENUE
    bar = max(min(width - names - _FIGURES - earns * _REVENUE, 20), 0)
    out.add_column("", no_wrap=True)
    for name in ("experience", *(["revenue"] if earns else []), "this hour"):
        out.add_column(name, justify="right", no_wrap=True)
    out.add_column("ESS", justify="right", style=QUIET, no_wrap=True)
    top = max(s.propensity for _, s in found)
    for name, s in found:
        value = f"{figure(s.value, '.3f')} ±{figure(s.value_error, '.3f')}" if s.value is not None else NONE
        shown = "█" * round(bar * s.propensity / top)
        out.add_row(
            name, f"{s.rounds:,.0f}", Text(f"{s.propensity:.1%}", "bold"), Text(shown.ljust(bar), CURVE), f"{s.experience:.3f}",
            *([f"{s.revenue:.3f}"] if earns else []), value, f"{s.ess:,.0f}",
        )  # fmt: skip
    return out


def _curves(readings: Readings, figures: dict[str, dict[str, float | None]], shown: tuple[str, ...], curve: int, most: int) -> Table:
    """Figures of each strategy's pages, and how they went: of the last ones that listeners looked at, but for what it earns."""
    out = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style=QUIET)
    out.add_column("", style=LABEL, no_wrap=True)
    for name in shown:
        out.add_column(name.rjust(_VALUE), no_wrap=True)
    for row, of in list(figures.items())[: max(most, 1)]:
        cells = []
        for name in shown:
            told = bars(squeezed(readings.curves.get(f"{row} {name}", ()), max(curve - 1, 1)), curve)
            cells.append(Text.assemble((figure(of.get(name), _FORMS[name]).rjust(_VALUE), "bold"), " ", (told, CURVE)))
        out.add_row(row, *cells)
    return out
