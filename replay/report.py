"""What a replay found, as one self-contained page, as JSON beside it, and as tables for a terminal."""
from __future__ import annotations

import base64
import datetime
import html
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from online_model.features import TASKS
from online_model.metrics import WindowResult
from online_model.tally import BINS, LOGIT_RANGE, NEGATIVE, POSITIVE, PREDICTED, TaskMetrics
from replay.prequential import Result, auc_error
from streams.core.join.keys import HOUR_MS

COLOURS = ("#2456a6", "#b8412c", "#2f8f5b", "#8a5aa8", "#b5862a")  # a task each, told apart without colour vision by their order
CURVE_BINS = 20  # of equal mass, as for ECE
FEWEST = 20  # rows of each label in a window, below which its AUC is noise and isn't drawn
COPC_SLACK = 0.03  # beside 2 / sqrt(positives): what calibration is held to


class Setting(Protocol):
    """A setting as it held, and where that came from."""

    @property
    def key(self) -> str:
        """Its path in the settings, with dots."""

    @property
    def value(self) -> Any:
        """As it held."""

    @property
    def source(self) -> str:
        """Where it came from; `default` where nobody set it."""


def write(
    folder: Path, result: Result, histogram: np.ndarray, settings: Sequence[Setting], title: str,
    more: Sequence[tuple[str, str]] = (), evidence: object = None,
) -> Path:  # fmt: skip
    """`index.html` and `result.json` in the folder. `histogram`: the tally of all scored rows [T, 3, BINS].

    `more`: titles and HTML of further sections; `evidence`: what they show, for the JSON.
    """
    named = {s.key: {"value": s.value, "source": s.source} for s in settings}
    document = {"log": title, "result": result, "settings": named} | ({"evidence": evidence} if evidence else {})
    return save(folder, page(result, histogram, settings, title, more), document)


def save(folder: Path, page: str, document: object) -> Path:
    """Write a page as `index.html` and what it shows as `result.json` into the folder; gives the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
    path = folder / "index.html"
    path.write_text(page, encoding="utf-8")
    return path


def summary(result: Result) -> Iterator[Table | str]:
    """For a terminal."""
    title = f"{result.rows:,} rows in {result.seconds:,.1f} s: {result.events:,} events, {result.examples:,} examples"
    yield _table(title + (f", {result.drawn:,} of them drawn" if result.drawn else ""), result.metrics)
    if result.since_ms is not None:
        yield ""
        yield _table(f"of these, shown from {_when(result.since_ms)} UTC on", result.since)
    yield from account(result)
    yield from (f"note: {note}" for note in result.notes)
    yield f"digest: {result.digest}"


def account(result: Result) -> Iterator[str]:
    """Where each row of the log went, with the first place of each reason; nothing where all are events."""
    parts = {"rejected": result.rejected, "merged": result.merged, "left out": result.left_out}
    if not any(parts.values()):
        return
    sums = " + ".join(f"{sum(each.values()):,} {kind}" for kind, each in parts.items() if each)
    yield f"{result.rows:,} rows = {result.events:,} events + {sums}"
    first = {each.reason: each for each in reversed(result.rejections)}
    for kind, each in parts.items():
        for reason, n in each.items():
            found = first.get(reason) or first.get(f"{kind}: {reason}")
            place = f"; first in line {found.line:,}: {found.message or found.detail}" if found else ""
            yield f"{kind}: {reason} {n:,}{place}"


def refusal(result: Result) -> str | None:
    """Why a log can't be said to have been replayed: more than half of its rows were rejected; None where it was."""
    rejected = sum(result.rejected.values())
    rows = result.rows - sum(result.left_out.values())
    if not rejected or 2 * rejected <= rows:
        return None
    first = next(each for each in result.rejections if each.reason in result.rejected)
    return f"{rejected:,} of {rows:,} rows were rejected; the first in line {first.line:,}: {first.message or first.detail}"


def _table(title: str, metrics: dict[str, TaskMetrics]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), title_justify="left", title=title)
    for column in ("task", "AUC", "GAUC", "log loss", "NE", "COPC", "n", "positives"):
        table.add_column(column, justify="left" if column == "task" else "right", no_wrap=True)
    for task, m in metrics.items():
        auc = f"{number(m.auc)} ±{number(auc_error(m)).removeprefix('0')}" if m.auc == m.auc else "–"
        table.add_row(task, auc, *(number(f) for f in (m.gauc, m.logloss, m.ne, m.copc)), f"{m.n:,.0f}", f"{m.positives:,.0f}")
    return table


def page(result: Result, histogram: np.ndarray, settings: Sequence[Setting], title: str, more: Sequence[tuple[str, str]] = ()) -> str:
    """The page as HTML, pictures inside; `more`: titles and HTML of further sections."""
    used = [task for task, m in result.metrics.items() if m.n]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=lead>{_when(result.first_ms)} to {_when(result.last_ms)} UTC, replayed in {result.seconds:,.1f} s "
        f"({result.rows / max(result.seconds, 1e-9):,.0f} rows/s). Every exposure was predicted before it was learned from.</p>",
        _cards(result),
        f"<h2>Figures by task{f', {result.drawn:,} negatives drawn' if result.drawn else ''}</h2>",
        _figures(result.metrics),
        *([f"<h3>Shown from {_when(result.since_ms)} UTC on</h3>", _figures(result.since)] if result.since_ms is not None else []),
        "<p class=small>NE: log loss over the entropy of the base rate, below 1 is better than knowing the rate. COPC: what happened over "
        "what was predicted, 1 is right. GAUC: AUC within a user. ±: standard error (Hanley and McNeil).</p>",
        *(f"<h2>{html.escape(name)}</h2>{section}" for name, section in more),
        *(f"<h2>{name}</h2>{picture}" for name, picture in _pictures(result, histogram, used)),
        "<h2>What to mind</h2><ul>",
        *(f"<li>{html.escape(note)}</li>" for note in result.notes),
        "</ul>",
        _rejected(result),
        "<h2>Counts</h2>",
        html_table(("what", "how often"), [(name, f"{n:,}") for name, n in result.counted.items()]),
        _settings(settings),
        "<h2>Digest</h2>",
        f"<p class=small>Of all state and parameters: equal logs, settings and versions give equal digests.</p><pre>{result.digest}</pre>",
        html_table(("kind of state", "hash"), [(name, f"<code>{value}</code>") for name, value in result.digests.items()]),
    ]
    return html_page(title, parts)


def html_page(title: str, parts: Iterable[str]) -> str:
    """A self-contained page of parts that are HTML already."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return f"{head}<main>{''.join(parts)}</main></html>"


def curve(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One task's [3, BINS] in CURVE_BINS of about equal mass along the logit: mean prediction, observed rate, rows of each."""
    rows = histogram[NEGATIVE] + histogram[POSITIVE]
    total = rows.sum()
    if not total:
        return np.zeros(0), np.zeros(0), np.zeros(0)
    at = np.minimum(((np.cumsum(rows) - rows / 2) / total * CURVE_BINS).astype(int), CURVE_BINS - 1)
    mass, positive, predicted = (np.bincount(at, x, CURVE_BINS) for x in (rows, histogram[POSITIVE], histogram[PREDICTED]))
    there = mass > 0
    return predicted[there] / mass[there], positive[there] / mass[there], mass[there]


def drawn_width(windows: Sequence[WindowResult]) -> int:
    """The width of window to draw, in ms: the widest with at least a dozen windows, else the narrowest; 0 without any."""
    widths = sorted({w.width_ms for w in windows})
    many = [width for width in widths if sum(w.width_ms == width for w in windows) >= 12]
    return many[-1] if many else widths[0] if widths else 0


def _pictures(result: Result, histogram: np.ndarray, tasks: Sequence[str]) -> Iterator[tuple[str, str]]:
    width = drawn_width(result.windows)
    windows = sorted((w for w in result.windows if w.width_ms == width), key=lambda w: w.start_ms)
    if windows and tasks:
        for field, name, ideal in (("auc", "AUC", 0.5), ("ne", "NE", 1.0)):
            figure, axes = axes_of(3.2)
            for task in tasks:
                drawn = [w for w in windows if _enough(w.tasks[task])]
                if drawn:
                    days = [datetime.datetime.fromtimestamp(w.start_ms / 1000, datetime.UTC) for w in drawn]
                    values = [getattr(w.tasks[task], field) for w in drawn]
                    axes.plot(np.array(days), values, "o-", ms=2.5, lw=1, color=_colour(task), label=task)
            axes.axhline(ideal, color="#999", lw=0.8, ls=":")
            axes.set_ylabel(name)
            axes.tick_params(axis="x", labelrotation=20)
            plain(axes)
            yield f"{name} by window of {_span(width)} (event time)", inline(figure)
    if tasks:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(9, 1.9 * -(-len(tasks) // 3) + 0.5), layout="constrained")
        for place, task in enumerate(tasks):
            axes = figure.add_subplot(-(-len(tasks) // 3), min(3, len(tasks)), place + 1)
            predicted, observed, _ = curve(histogram[TASKS.index(task)])
            top = max(1e-6, float(max(predicted.max(initial=0), observed.max(initial=0))) * 1.05)
            axes.plot([0, top], [0, top], color="#999", lw=0.8, ls=":")
            axes.plot(predicted, observed, "o-", ms=3, lw=1, color=_colour(task))
            axes.set_title(task, fontsize=9)
            plain(axes, legend=False)
        figure.supxlabel("predicted", fontsize=9)
        figure.supylabel("observed", fontsize=9)
        yield "Calibration (20 bins of equal mass)", inline(figure)
        figure, axes = axes_of(2.4)
        centres = (np.arange(BINS) + 0.5) * (2 * LOGIT_RANGE / BINS) - LOGIT_RANGE
        for task in tasks:
            rows = histogram[TASKS.index(task)][:2].sum(0)
            coarse = rows.reshape(-1, 10).sum(1)
            axes.plot(centres.reshape(-1, 10).mean(1), coarse / max(1.0, coarse.sum()), lw=1, color=_colour(task), label=task)
        axes.set_xlabel("logit before the update", fontsize=9)
        axes.set_ylabel("share of exposures", fontsize=9)
        plain(axes)
        yield "What was predicted", inline(figure)


def _enough(m: TaskMetrics) -> bool:
    return m.positives >= FEWEST and m.n - m.positives >= FEWEST


def _colour(task: str) -> str:
    return COLOURS[TASKS.index(task) % len(COLOURS)]


def axes_of(height: float) -> tuple[Any, Any]:
    """A new figure over the page's width, `height` inches high, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, height), layout="constrained")
    return figure, figure.subplots()


def plain(axes: Any, legend: bool = True) -> None:
    """Axes as all pictures have them; `legend`: with what is labelled."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False, ncols=5, loc="best")


def inline(figure: Any) -> str:
    """The picture inside the page: an HTML image without a file."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=140)
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}">'


def _cards(result: Result) -> str:
    rejected = sum(result.rejected.values())
    cards = (("rows", result.rows), ("events used", result.events), ("examples learned", result.examples), ("rejected", rejected))
    return "<div class=cards>" + "".join(f"<div><b>{n:,}</b>{name}</div>" for name, n in cards) + "</div>"


def _figures(metrics: dict[str, TaskMetrics]) -> str:
    rows = []
    for task, m in metrics.items():
        slack = COPC_SLACK + 2 / m.positives**0.5 if m.positives else float("nan")
        off = f"<td class=off title='further from 1 than {slack:.3f}'>" if abs(m.copc - 1) > slack else "<td>"
        cells = "".join(f"<td>{number(f)}</td>" for f in (m.auc, auc_error(m), m.gauc, m.logloss, m.ne))
        rest = f"<td>{number(m.ece)}</td><td>{m.n:,.0f}</td><td>{m.positives:,.0f}</td>"
        rows.append(f"<tr><th style='border-left:4px solid {_colour(task)}'>{task}</th>{cells}{off}{number(m.copc)}</td>{rest}</tr>")
    head = "".join(f"<th>{h}</th>" for h in ("task", "AUC", "±", "GAUC", "log loss", "NE", "COPC", "ECE", "n", "positives"))
    return f"<table class=figures><tr>{head}</tr>{''.join(rows)}</table>"


def _rejected(result: Result) -> str:
    parts = [("rejected", result.rejected), ("merged", result.merged), ("left out", result.left_out)]
    if not any(each for _, each in parts):
        return "<h2>Rejected</h2><p>Nothing.</p>"
    first = [(r.reason, f"{r.line:,}", html.escape((r.message or r.detail)[:200])) for r in result.rejections]
    rows = [(kind, html.escape(reason), f"{n:,}") for kind, each in parts for reason, n in each.items()]
    counts = html_table(("of the rows", "reason", "records"), [("events", "", f"{result.events:,}"), *rows])
    details = f"<details><summary>the first of each reason</summary>{html_table(('reason', 'line', 'detail'), first)}</details>"
    return f"<h2>Rejected, merged, left out</h2>{counts}{details}"


def _settings(settings: Sequence[Setting]) -> str:
    def table(settings: Sequence[Setting]) -> str:
        cells = [(s.key, html.escape(str(s.value)), html.escape(s.source)) for s in settings]
        return html_table(("setting", "value", "set by"), cells)

    changed = [s for s in settings if s.source != "default"]
    title = f"{len(changed)} changed from the defaults" if changed else "all defaults"
    every = f"<details><summary>all {len(settings)}</summary>{table(settings)}</details>"
    return f"<h2>Settings: {title}</h2>{table(changed) if changed else ''}{every}"


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """A table of cells that are HTML already; `style`: attributes of the table.

    >>> html_table(("a", "b"), [("1", "2")])
    '<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>'
    """
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table{style}><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{body}</table>"


def number(value: float) -> str:
    """Four digits; a dash for NaN.

    >>> number(0.12345), number(float("nan"))
    ('0.1235', '–')
    """
    return "–" if value != value else f"{value:.4f}"


def _when(ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(max(0, ms) / 1000, datetime.UTC):%Y-%m-%d %H:%M}"


def _span(ms: int) -> str:
    return f"{ms // (24 * HOUR_MS)} d" if ms >= 24 * HOUR_MS else f"{ms // HOUR_MS} h" if ms >= HOUR_MS else f"{ms // 60_000} min"


STYLE = """
:root{color-scheme:light}body{margin:0;background:#f5f5f2;color:#1d1d1b;font:15px/1.55 system-ui,sans-serif}
main{max-width:60rem;margin:2rem auto;padding:2rem 2.5rem;background:#fff;box-shadow:0 1px 4px #0002;border-radius:6px}
h1{font-size:1.5rem;margin:0 0 .3rem;overflow-wrap:anywhere}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
.lead{color:#555;margin:0 0 1.4rem}.small{color:#666;font-size:.85rem}
.cards{display:grid;grid-template-columns:repeat(4,1fr);gap:.8rem}
.cards div{background:#f5f5f2;border-radius:5px;padding:.7rem 1rem;font-size:.85rem;color:#555}
.cards b{display:block;font-size:1.4rem;color:#1d1d1b;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid #e4e4df;text-align:left;vertical-align:top;overflow-wrap:anywhere}
.figures td,.figures th{text-align:right;overflow-wrap:normal}.figures tr>:first-child{text-align:left;overflow-wrap:anywhere}
.off{background:#fbe3dc}img{width:100%}details{margin-top:.8rem}summary{cursor:pointer;color:#2456a6}
pre,code{font:12px/1.4 ui-monospace,monospace;overflow-wrap:anywhere;white-space:pre-wrap}
@media(max-width:40rem){main{padding:1rem}.cards{grid-template-columns:repeat(2,1fr)}}
"""
