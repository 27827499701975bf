"""How often slates had what was played next, as a table for a terminal, and as a table and a picture for the report's page."""
from __future__ import annotations

import datetime
import html
from collections.abc import Iterator

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bandit.bootstrap import Interval
from replay.evidence.next_found import Kind, NextFound, Order, SourceFound
from replay.report import COLOURS, inline, plain

TITLE = "What was played next"
_SOURCES = "Where candidates come from: recall of the pool, by the first so many as they were ranked"
_SOURCES_BELOW = "Δ: what Segue's list has more or less where the source's candidates are left out of it."
_KINDS = "Repeats, new and cold items apart, of Segue's list"
_BELOW = "With 95 % intervals; below each figure, how much more Segue's list has."


def table(found: NextFound) -> Iterator[Table | str]:
    """For a terminal."""
    if found.orders:
        grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), title_justify="left", title=_asked(found))
        for n, column in enumerate(_head(found)):
            grid.add_column(column, justify="right" if n else "left", no_wrap=True)
        for order in found.orders:
            grid.add_row(order.name, *("\n".join(cell) for cell in _figures(order)))
        yield from ("", grid, _BELOW, "", _small(_SOURCES, _source_head(found), [_source(one) for one in found.sources]), _SOURCES_BELOW)
        yield from ("", _small(_KINDS, _kind_head(found), [_kind(one) for one in found.kinds]), _took(found))
    yield from (f"note: {note}" for note in found.notes)


def section(found: NextFound) -> tuple[str, str]:
    """For the page: title and HTML."""
    notes = "".join(f"<p class=small>{html.escape(note)}</p>" for note in found.notes)
    if not found.orders:
        return TITLE, notes
    head = "".join(f"<th>{column}</th>" for column in _head(found))
    rows = "".join(
        f"<tr><td>{html.escape(order.name)}</td>"
        + "".join(f"<td>{value}<br><small>{more}</small></td>" for value, more in _figures(order))
        + "</tr>"
        for order in found.orders
    )
    caption = f"<p class=small>{_asked(found)}. {_BELOW}</p>"
    sources = _html(_SOURCES, _source_head(found), [_source(one) for one in found.sources], _SOURCES_BELOW)
    kinds = _html(_KINDS, _kind_head(found), [_kind(one) for one in found.kinds], _took(found))
    return TITLE, f"<table class=figures><tr>{head}</tr>{rows}</table>{caption}{_picture(found)}{sources}{kinds}{notes}"


def _asked(found: NextFound) -> str:
    return f"{TITLE}: {found.questions:,} questions of {found.users:,} users, of {found.plays:,} plays after another"


def _took(found: NextFound) -> str:
    return f"{found.question_ms:.1f} ms a list."


def _small(title: str, head: list[str], rows: list[list[str]]) -> Table:
    """A table of text."""
    grid = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), title_justify="left", title=title)
    for n, column in enumerate(head):
        grid.add_column(column, justify="right" if n else "left", no_wrap=n > 0)
    for row in rows:
        grid.add_row(*row)
    return grid


def _html(title: str, head: list[str], rows: list[list[str]], below: str) -> str:
    names = "".join(f"<th>{column}</th>" for column in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell).replace(chr(10), '<br>')}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<h3>{title}</h3><table class=figures><tr>{names}</tr>{body}</table><p class=small>{below}</p>"


def _source_head(found: NextFound) -> list[str]:
    """Recall by candidates as ranked, then what a list loses without the source."""
    firsts = found.sources[0].recall
    return ["source", "a pool", *(f"@{first}" for first in firsts), "hits", f"Δhit@{found.k} without", f"ΔMRR@{found.k}"]


def _source(of: SourceFound) -> list[str]:
    recall = [f"{figure.value:.3f}" for figure in of.recall.values()]
    return [of.name, f"{of.candidates:.0f}", *recall, f"{of.hits:,}", _lost(of.hit_less), _lost(of.mrr_less).partition(" ")[0]]


def _lost(less: Interval | None) -> str:
    """What a list has less without the source: the sign of a change."""
    if less is None:
        return ""
    return _within(Interval(0.0 - less.value, 0.0 - less.high, 0.0 - less.low), "+.3f")


def _kind_head(found: NextFound) -> list[str]:
    return ["the item was", "questions", "in the pool", f"hit@{found.k}", f"MRR@{found.k}"]


def _kind(of: Kind) -> list[str]:
    return [of.name, f"{of.questions:,}", *(_within(figure, ".3f").replace(" [", "\n[") for figure in (of.recall, of.hit, of.mrr))]


def _head(found: NextFound) -> list[str]:
    return ["", f"hit@{found.k}", f"MRR@{found.k}"]


def _figures(order: Order) -> list[tuple[str, str]]:
    """Each figure with its interval, and how much more Segue's list has."""
    both = (order.hit, order.hit_less), (order.mrr, order.mrr_less)
    return [(_within(figure, ".4f"), _within(more, "+.4f") if more else "") for figure, more in both]


def _within(figure: Interval, form: str) -> str:
    """A figure with its interval; of one user alone there is none."""
    return format(figure.value, form) + (f" [{figure.low:{form}}, {figure.high:{form}}]" if figure.low == figure.low else "")


def _picture(found: NextFound) -> str:
    """Share of hits over time, by order."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    middle = np.array([datetime.datetime.fromtimestamp((s.from_ms + s.to_ms) / 2000, datetime.UTC) for s in found.spans])
    for order, colour in zip(found.orders, COLOURS, strict=False):
        axes.plot(middle, [span.hits[order.name] for span in found.spans], "o-", ms=2.5, lw=1, color=colour, label=order.name)
    axes.set_ylabel(f"hit@{found.k}")
    axes.set_ylim(bottom=0)
    axes.tick_params(axis="x", labelrotation=20)
    plain(axes)
    return inline(figure)
