"""An evaluation as tables for a terminal, and as a page with pictures beside its JSON."""
from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

from bandit.bootstrap import Interval
from bandit.verdict import figure
from replay.off_policy.estimation import Estimate, Family
from replay.off_policy.evaluate import Evaluation
from replay.report import COLOURS, STYLE, inline, plain

BY_SLOPE = "chosen by SLOPE; the interval leaves out what bias is left"
WHAT = {"items": "a shown item", "slots": "a list, slot by slot", "lists": "a list, as a whole", "strategies": "what a strategy made"}


def summary(found: Evaluation) -> Iterator[Table | str]:
    """For a terminal."""
    rounds = f"{found.rows:,} shown items in {found.requests:,} requests, {found.arms:,} arms"
    if found.surface:
        rounds = f"{found.rows:,} {found.surface}s, {found.arms:,} strategies; {found.unseen:,} more were on no screen as far as is known"
        if found.named:
            rounds += f", of {found.named:,} the request named the strategy"
    yield (
        f"{found.policy}: {found.reward} of {rounds}; "
        f"{found.acts:,} acts, {found.unjoined:,} of them unjoined, {found.late:,} late; {found.rejected:,} records rejected"
        + (f"; {found.rounded:,} propensities above 1 by rounding" if found.rounded else "")
    )
    for family in found.families:
        yield ""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), title_justify="left")
        table.title = f"{found.reward} of {WHAT[family.of]}"
        for column in ("", "value", "95 %", "less this log's", "τ, λ"):
            table.add_column(column, justify="left" if not column else "right", no_wrap=True)
        table.add_row("this log", *_interval(family.own), "", "")
        for each in family.estimates:
            table.add_row(*_cells(each))
        yield table
        if any(each.by_slope for each in family.estimates):
            yield f"*: {BY_SLOPE}"
        yield from (f"{each.name}: {each.note}" for each in family.estimates if each.note)
        yield ", ".join(f"{name} {value}" for name, value in _diagnostics(family))
        yield from (f"cannot answer ({', '.join(names)}): {reason}" for reason, names in _refused(family))


def write(folder: Path, found: Evaluation, title: str) -> Path:
    """`index.html` and `result.json` in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"log": title, "result": found}
    (folder / "result.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))
    path = folder / "index.html"
    path.write_text(page(found, title), encoding="utf-8")
    return path


def page(found: Evaluation, title: str) -> str:
    """As HTML, pictures inside."""
    answered = any(each.interval for family in found.families for each in family.estimates)
    verdict = "The log answers." if found.answers else "The log answers in part." if answered else "The log cannot answer."
    cards = [("shown items", found.rows), ("requests", found.requests), ("arms", found.arms), ("unjoined acts", found.unjoined)]
    if found.surface:
        left_out = [("on no screen", found.unseen), ("strategy named by the request", found.named)]
        cards = [(f"{found.surface}s", found.rows), *left_out, ("strategies", found.arms), cards[-1]]
    parts = [
        f"<h1>{html.escape(found.policy)} on {html.escape(title)}</h1>",
        f"<p class=lead>{verdict} Reward: {found.reward}. q̂: {found.q_hat}. Intervals: 95 %, bootstrap of requests.</p>",
        "<div class=cards>",
        *(f"<div><b>{n:,}</b>{name}</div>" for name, n in cards),
        "</div>",
    ]
    for family in found.families:
        parts.append(f"<h2>{found.reward} of {WHAT[family.of]}</h2>")
        parts += [f"<p class=off>Cannot answer ({', '.join(names)}): {html.escape(reason)}.</p>" for reason, names in _refused(family)]
        if any(each.interval for each in family.estimates):
            parts.append(_picture(family))
        head = "".join(f"<th>{column}</th>" for column in ("", "value", "95 %", "less this log's", "τ, λ"))
        own = "".join(f"<td>{cell}</td>" for cell in ("this log", *_interval(family.own), "", ""))
        rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(each)) + "</tr>" for each in family.estimates)
        parts.append(f"<table class=figures><tr>{head}</tr><tr>{own}</tr>{rows}</table>")
        parts.append(f"<p class=small>*: {BY_SLOPE}.</p>")
        parts += [f"<p class=small>{html.escape(each.name)}: {html.escape(each.note)}.</p>" for each in family.estimates if each.note]
        cells = "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in _diagnostics(family))
        parts.append(f"<h3>What it rests on</h3><table class=figures>{cells}</table>")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return f"{head}<main>{''.join(parts)}</main></html>"


def _refused(family: Family) -> list[tuple[str, list[str]]]:
    """Each reason, and the estimators that it refuses."""
    return [(reason, [each.name for each in family.estimates if reason in each.reasons]) for reason in family.reasons]


def _diagnostics(family: Family) -> list[tuple[str, str]]:
    d = family.diagnostics
    mean = f"{d.mean_weight:.4f}" if d.mean_weight < 10_000 else figure(d.mean_weight)
    return [
        ("n", f"{d.n:,}"), ("Σw/n", mean), ("ESS", f"{d.ess:,.1f}"), ("max w", f"{d.max_weight:,.4g}"),
        ("top-1 share", f"{d.top_share:.2%}"), ("propensity coverage", f"{d.coverage:.1%}"),
        ("on arms never shown", f"{d.unseen:.2%}"), ("join rate", f"{d.join_rate:.1%}"),
    ]  # fmt: skip


def _cells(each: Estimate) -> tuple[str, str, str, str, str]:
    parameter = "" if each.parameter is None else f"{each.parameter:g}" + ("*" if each.by_slope else "")
    if each.interval is None or each.more is None:
        return each.name, "–", "", "", parameter
    more = f"{each.more.value:+.5f} [{each.more.low:+.5f}, {each.more.high:+.5f}]"
    return each.name, *_interval(each.interval), more, parameter


def _interval(found: Interval) -> tuple[str, str]:
    if found.value != found.value:
        return "–", ""
    return f"{found.value:.5f}", f"[{found.low:.5f}, {found.high:.5f}]"


def _picture(family: Family) -> str:
    """Estimates with their intervals beside what the log's own policy earned; how the weights are spread."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    drawn = [(each.name, each.interval) for each in family.estimates if each.interval is not None]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(drawn)), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    y = -np.arange(len(drawn))
    value, low, high = (np.array([getattr(interval, end) for _, interval in drawn]) for end in ("value", "low", "high"))
    left.axvspan(family.own.low, family.own.high, color="#ddd", lw=0)
    left.axvline(family.own.value, color="#777", lw=0.8)
    left.errorbar(value, y, xerr=np.clip([value - low, high - value], 0, None), fmt="o", ms=3, lw=1, color=COLOURS[0])
    left.set_yticks(y, [name for name, _ in drawn])
    left.set_xlabel("grey: what this log itself earned", fontsize=9)
    plain(left, legend=False)
    spread = np.array(family.weights, float)
    there = np.isfinite(spread)
    right.plot(10.0 ** spread[there], np.arange(1, 101)[there], lw=1.2, color=COLOURS[1])
    right.set_xscale("log")
    right.xaxis.set_minor_formatter(NullFormatter())
    right.set_xlabel("weight", fontsize=9)
    right.set_ylabel("% of rows at or below", fontsize=9)
    plain(right, legend=False)
    return inline(figure)
