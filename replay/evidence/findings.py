"""Findings as tables for a terminal, and as tables and pictures for the report's page."""
from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bandit.bootstrap import Interval
from replay.evidence.tables import Finding, Row
from replay.report import COLOURS, inline, plain


def tables(found: Sequence[Finding]) -> Iterator[Table | str]:
    """For a terminal, a table a finding and task; a figure has the difference to the first row of its part under it, in thousandths."""
    for finding in found:
        if not finding.rows:
            yield f"{finding.title}: no figures"
        for task in _tasks(finding):
            rows = [row for row in finding.rows if row.task == task]
            table = Table(box=SIMPLE_HEAD, pad_edge=False, title_justify="left", title=f"{finding.title}: {task}")
            names, *figures = _head(rows)
            table.add_column(names, no_wrap=True)
            for column in figures:
                table.add_column(column, justify="right", overflow="fold")  # an interval that is cut off says something else
            for row in rows:
                figure = (f"{value}\n{more.replace(' [', chr(10) + '[')}" for value, more in _figures(row))
                table.add_row(f"{row.name}\n{row.part}\n{row.positives:,} positives", *figure, *_rest(row))
            yield table
        if finding.rows:
            yield "Below each figure: thousandths more than in the first row, with the 95 % interval."
        yield from (f"note: {note}" for note in finding.notes)


def sections(found: Sequence[Finding]) -> Iterator[tuple[str, str]]:
    """For the page: title and HTML of each finding."""
    for finding in found:
        parts = [_picture(finding)] if finding.rows else ["<p>No figures.</p>"]
        for task in _tasks(finding):
            rows = [row for row in finding.rows if row.task == task]
            head = "".join(f"<th>{column}</th>" for column in _head(rows))
            body = "".join(f"<tr>{_cells(row)}</tr>" for row in rows)
            parts.append(f"<h3>{task}</h3><table class=figures><tr>{head}</tr>{body}</table>")
        if finding.rows:
            parts.append("<p class=small>Below each figure: thousandths more than in the first row, with the 95 % interval.</p>")
        parts += [f"<p class=small>{html.escape(note)}</p>" for note in finding.notes]
        yield finding.title, "".join(parts)


def _cells(row: Row) -> str:
    name = f"{html.escape(row.name)}<br><small>{html.escape(row.part)}, {row.positives:,} positives</small>"
    figures = "".join(f"<td>{value}<br><small>{more}</small></td>" for value, more in _figures(row))
    return f"<td>{name}</td>{figures}" + "".join(f"<td>{cell}</td>" for cell in _rest(row))


def _tasks(finding: Finding) -> list[str]:
    return list(dict.fromkeys(row.task for row in finding.rows))


def _head(rows: Sequence[Row]) -> list[str]:
    top = ["top"] if rows[0].top is not None else []
    return ["", "AUC", "NE", "GAUC", *top, *(["examples/s"] if rows[0].rate is not None else [])]


def _figures(row: Row) -> list[tuple[str, str]]:
    """Each figure, and how much more it is than in the first row."""
    each = ((row.auc, row.auc_more), (row.ne, row.ne_more), (row.gauc, row.gauc_more), (row.top, row.top_more))
    return [(_number(value), _difference(more)) for value, more in each if value is not None and more is not None]


def _rest(row: Row) -> list[str]:
    return [f"{row.rate:,.0f}"] if row.rate is not None else []


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.4f}"


def _difference(more: Interval) -> str:
    if more.value != more.value or (more.value == more.low == more.high == 0):
        return ""
    interval = f" [{1000 * more.low:+.1f}, {1000 * more.high:+.1f}]" if more.low == more.low else ""
    return f"{1000 * more.value:+.1f}{interval}"


def _picture(finding: Finding) -> str:
    """Differences of AUC (over one pass) and GAUC with their intervals, a row of pictures a task."""
    from matplotlib.figure import Figure

    tasks = _tasks(finding)
    names = list(dict.fromkeys(row.name for row in finding.rows))
    parts = list(dict.fromkeys(row.part for row in finding.rows))
    figure = Figure(figsize=(9, len(tasks) * (0.7 + 0.24 * len(names))), layout="constrained")
    for line, task in enumerate(tasks):
        for column, (field, label) in enumerate((("auc_more", "AUC"), ("gauc_more", "GAUC"))):
            axes = figure.add_subplot(len(tasks), 2, 2 * line + column + 1)
            for at, part in enumerate(parts):
                rows = [row for row in finding.rows if row.task == task and row.part == part]
                if not rows:
                    continue
                found: list[Interval] = [getattr(row, field) for row in rows]
                y = np.array([-names.index(row.name) - 0.12 * at for row in rows])
                value, low, high = (np.array([getattr(each, end) for each in found]) for end in ("value", "low", "high"))
                reach = np.clip([value - low, high - value], 0, None)
                axes.errorbar(value, y, xerr=reach, fmt="o", ms=3, lw=1, color=COLOURS[at % len(COLOURS)], label=part)
            axes.axvline(0, color="#999", lw=0.8, ls=":")
            axes.set_yticks([-k for k in range(len(names))], names if column == 0 else [""] * len(names))
            axes.set_title(f"{task}: {label} less that of “{names[0]}”", fontsize=9)
            plain(axes, legend=len(parts) > 1 and line == column == 0)
    return inline(figure)
