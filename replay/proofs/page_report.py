"""What was found about pages, as one self-contained page and as JSON beside it: the claims, and curves by strategy.

Curves are means over the worlds. Those of a strategy are of its own pages alone, and a part in which it made too few has none.
"""
from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from replay.proofs.claims import Claim, Proof
from replay.proofs.pages import CHOSEN, Run
from replay.report import axes_of, html_page, html_table, inline, number, plain, save
from replay.simulator.page_curves import PARTS, Curve, Figures

Array = np.ndarray

COLOURS = (
    "#2456a6", "#b8412c", "#2f8f5b", "#8a5aa8", "#b5862a", "#4aa3b5", "#7a7a7a", "#c46fa8", "#5c6b2f", "#222222", "#d08c60", "#9fb7e0",
)  # fmt: skip
SIGNS = {">=": "≥", "<=": "≤"}
FEWEST = 20  # pages of a strategy in a part, over all worlds, below which its figures are noise and aren't drawn
HEIGHT = 3.0  # of a picture, in inches
AXIS = f"part of the run, of {PARTS} with as many pages each"
MEASURES = (
    ("experience", "Experience of a page", "0 to 1: utility of all acts over what counts as full"),
    ("revenue", "Revenue of a page", "monetization of what was looked at; dotted: the floor"),
    ("categories_per_user", "Categories per listener", "distinct, of what was looked at in the part"),
    ("overlap", "Overlap between two listeners", "what both were shown over what either was"),
    ("dislikes_per_1000_plays", "Dislikes per 1,000 plays", ""),
    ("distinct_items", "Distinct items", "looked at by anybody in the part"),
)


def write(folder: Path, found: Proof, runs: Sequence[Run]) -> Path:
    """`index.html` and `result.json` in the folder."""
    return save(folder, page(found, runs), {"proof": found, "runs": runs})


def page(found: Proof, runs: Sequence[Run]) -> str:
    """The page as HTML, pictures inside."""
    title = "Pages: chosen strategies against the fixed page"
    visits = sum(run.chosen.pages for run in runs)
    parts = [
        f"<h1>{title}</h1>",
        f"<p class=lead>{'All claims hold' if found.passed else 'Not all claims hold'}, in {len(runs)} worlds with {visits:,} visits, each "
        "made twice: the same listeners at the same times with the same luck. All figures are of what was looked at.</p>",
        "<h2>Claims</h2>",
        _claims([claim for claim in found.claims if claim.bounds()]),
        "<h2>By strategy</h2>",
        _strategies(runs),
        "<p class=small>Worth: expected experience of the strategy's page to the same visitors, by the world's own chances; as an arm, the "
        "fixed page has modules as short as the others', and fewer of them. Sets grow with pages: compare the first two rows, or "
        "strategies that made about as many.</p>",
        *(f"<h2>{name}</h2><p class=small>{note}</p>{picture}" for name, note, picture in _pictures(runs)),
        "<h2>All figures</h2>",
        _claims(found.claims),
    ]
    return html_page(title, parts)


def averaged(each: Sequence[Sequence[Curve]], name: str, measure: str) -> Array:
    """Mean over worlds [P] of one measure of one curve, weighed by pages; NaN where it rests on too few."""
    found = [curve.figures for curves in each for curve in curves if curve.name == name]
    if not found:
        return np.zeros(0)
    long = min(len(figures) for figures in found)
    value = np.array([[getattr(figures[part], measure) for part in range(long)] for figures in found], float)
    pages = np.array([[figures[part].pages for part in range(long)] for figures in found], float) * ~np.isnan(value)
    total = pages.sum(0)
    mean = (np.nan_to_num(value) * pages).sum(0) / np.maximum(total, 1)
    return np.where(total >= FEWEST, mean, np.nan)


def _claims(claims: Sequence[Claim]) -> str:
    rows = []
    for claim in claims:
        bounds = ", ".join(f"{SIGNS.get(sign, sign)} {bound:.4g}" for sign, bound in claim.bounds())
        verdict = ("<td>holds" if claim.passed else "<td class=off>does not hold") if bounds else "<td>"
        interval = f"[{claim.low:.4f}, {claim.high:.4f}]"
        rows.append(
            f"<tr><td>{html.escape(claim.claim)}</td><td>{claim.mean:.4f}</td><td>{interval}</td><td>{bounds}</td>{verdict}</td></tr>"
        )
    head = "".join(f"<th>{column}</th>" for column in ("", "mean", "95 % over worlds", "claimed", ""))
    return f"<table class=figures><tr>{head}</tr>{''.join(rows)}</table>"


def _strategies(runs: Sequence[Run]) -> str:
    names = [name for name in runs[0].worth if name in runs[0].by_strategy]
    rows = [
        _row("the fixed page alone", [run.fixed for run in runs], []),
        _row("all that were chosen", [run.chosen for run in runs], [run.policy_worth for run in runs]),
        *(
            _row(name, [run.by_strategy[name] for run in runs if name in run.by_strategy], [run.worth[name] for run in runs])
            for name in names
        ),
    ]
    head = ("", "pages", "worth", "experience", "revenue", "categories", "overlap", "dislikes / 1,000 plays", "distinct items")
    return html_table(head, rows, " class=figures")


def _row(name: str, found: Sequence[Figures], worth: Sequence[float]) -> list[str]:
    def mean(measure: str) -> float:
        values = np.array([getattr(f, measure) for f in found], float)
        return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")

    pages, expected = sum(f.pages for f in found), float(np.mean(worth)) if worth else float("nan")
    figures = [number(mean(measure)) for measure in ("experience", "revenue", "categories_per_user", "overlap")]
    dislikes, distinct = mean("dislikes_per_1000_plays"), mean("distinct_items")
    return [html.escape(name), f"{pages:,}", number(expected), *figures, f"{dislikes:.1f}", f"{distinct:,.0f}"]


def _pictures(runs: Sequence[Run]) -> Iterator[tuple[str, str, str]]:
    names = [curve.name for curve in runs[0].chosen_curves[1:]]
    colour = dict(zip(names, COLOURS, strict=False))
    chosen = [run.chosen_curves for run in runs]
    share = {name: np.mean([c.share for curves in chosen for c in curves if c.name == name], 0) for name in names}
    figure, axes = axes_of(HEIGHT)
    axes.stackplot(np.arange(1, len(share[names[0]]) + 1), list(share.values()), labels=names, colors=[colour[n] for n in names])
    axes.set_ylim(0, 1)
    plain(axes, legend=False)
    axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1), reverse=True)
    axes.set_xlabel(AXIS, fontsize=9)
    yield "Which strategies were chosen", "share of pages, along the run", inline(figure)
    for measure, title, note in MEASURES:
        figure, axes = axes_of(HEIGHT)
        for name in names:
            _draw(axes, averaged(chosen, name, measure), name, colour[name], 0.9)
        _draw(axes, averaged(chosen, "all", measure), CHOSEN, "black", 2)
        _draw(axes, averaged([run.fixed_curves for run in runs], "all", measure), "the fixed page alone", "black", 1.4, "--")
        if measure == "revenue":
            axes.axhline(float(np.mean([run.floor for run in runs])), color="#999", lw=0.8, ls=":")
        axes.set_xlabel(AXIS, fontsize=9)
        plain(axes)
        yield title, note, inline(figure)
    figure, axes = axes_of(HEIGHT)
    for run in runs:
        axes.plot(run.regret_visits, run.regret_curve, lw=0.8, color="#2456a6", alpha=0.5)
    uniform = np.mean([run.worth[run.best] - run.uniform_worth for run in runs])
    axes.axhline(float(uniform), color="#b8412c", lw=1, ls="--", label="choosing alike")
    axes.axhline(0, color="#999", lw=0.8, ls=":")
    axes.set_xlabel("visit", fontsize=9)
    plain(axes)
    note = "expected experience of a page under the best strategy in hindsight, less the policy's: mean until then, a line a world"
    yield "Regret", note, inline(figure)


def _draw(axes: Any, values: Array, name: str, colour: str, width: float, style: str = "-") -> None:
    if np.isfinite(values).any():
        axes.plot(np.arange(1, len(values) + 1), values, style, lw=width, color=colour, label=name)
