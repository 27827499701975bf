"""The strategies in the panel: their posteriors and propensities, then by turns figures of what each served, with curves."""
from __future__ import annotations

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from streams.demo.panel_style import CURVE, LABEL, NONE, QUIET, column, figure, table
from streams.demo.readings import FIGURES, Readings, bars, squeezed

EARNS_S, TURN_S = 8.0, 4.0  # for which the first table is on the panel, and each of those with curves
_FIGURES, _REVENUE = 51, 9  # columns of a strategy's figures, and of its revenue where there is room
_FORMS = {"experience": ".3f", "revenue": ".3f", "regret": ".3f", "categories": ".2f", "overlap": ".3f", "items": ",d", "dislikes": ".1f"}
_VALUE, _GAP, _LEAST = 6, 2, 6  # columns of a value, between two figures, of the shortest curve


def rows(readings: Readings) -> int:
    """Lines that a table may need, without its header: each strategy has one, and ALL of a surface."""
    return sum(1 + len(of.strategies) for of in readings.surfaces.values())


def strategy_table(readings: Readings, width: int, most: int, passed_s: float) -> RenderableType:
    """A header and at most `most` lines; `passed_s` determines which table."""
    if not readings.surfaces:
        return Text("no strategy has earned anything yet: that takes a join window", QUIET)
    figures = readings.strategies()
    names = max(len(name) for name in figures) + _GAP
    each = min(max((width - names) // (_VALUE + _LEAST + _GAP), 1), len(FIGURES))
    turns = -(-len(FIGURES) // each)
    turn = int((passed_s % (EARNS_S + turns * TURN_S) - EARNS_S) // TURN_S)
    if turn < 0:
        return _earns(readings, width, most)
    columns = FIGURES[turn * each : (turn + 1) * each]
    curve = min((width - names) // each - _VALUE - _GAP, 14)
    return _curves(readings, figures, columns, curve, most)


def _earns(readings: Readings, width: int, most: int) -> RenderableType:
    """The posterior mean of each strategy's reward, its propensity, and its value in this hour."""
    surfaces = readings.surfaces
    found = [(f"{surface} {name}", s) for surface, of in surfaces.items() for name, s in of.strategies.items()]
    if len(found) > most:
        found = sorted(found, key=lambda row: -row[1].propensity)[: max(most, 1)]
    weight = next(iter(surfaces.values())).revenue_weight
    heading = f"revenue weighs {weight:.2g}"
    names = max(len(heading), *(len(name) for name, _ in found))
    revenue = width >= names + _FIGURES + _REVENUE
    bar = max(min(width - names - _FIGURES - revenue * _REVENUE, 20), 0)
    out = table(
        column(heading, LABEL), column("rounds", right=True), column("chance", right=True), column(""), column("experience", right=True),
        *([column("revenue", right=True)] if revenue else []), column("this hour", right=True), column("ESS", QUIET, right=True),
    )  # fmt: skip
    top = max(s.propensity for _, s in found)
    for name, s in found:
        value = f"{figure(s.value, '.3f')} ±{figure(s.value_error, '.3f')}" if s.value is not None else NONE
        share = Text(("█" * round(bar * s.propensity / top)).ljust(bar), CURVE)
        out.add_row(
            name, f"{s.rounds:,.0f}", Text(f"{s.propensity:.1%}", "bold"), share, f"{s.experience:.3f}",
            *([f"{s.revenue:.3f}"] if revenue else []), value, f"{s.ess:,.0f}",
        )  # fmt: skip
    return out


def _curves(readings: Readings, figures: dict[str, dict[str, float | None]], names: tuple[str, ...], curve: int, most: int) -> Table:
    """Figures of each strategy and their curves: of its last slates and pages that listeners looked at, but for what it earns."""
    out = table(column("", LABEL), *(column(name.rjust(_VALUE)) for name in names))
    for row, values in list(figures.items())[: max(most, 1)]:
        cells = []
        for name in names:
            points = bars(squeezed(readings.curves.get(f"{row} {name}", ()), max(curve - 1, 1)), curve)
            cells.append(Text.assemble((figure(values.get(name), _FORMS[name]).rjust(_VALUE), "bold"), " ", (points, CURVE)))
        out.add_row(row, *cells)
    return out
