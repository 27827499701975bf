"""The live panel of `segue run`: the status of the running system on a terminal; and the same as one plain line."""
from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from streams.clock import now_ms
from streams.core.serving.surfaces import Varieties
from streams.demo import strategy_tables
from streams.demo.listeners import Activity
from streams.demo.panel_style import BAD, CURVE, GOOD, LABEL, QUIET, column, figure, table
from streams.demo.readings import Readings, bars

PANEL_S = 0.5  # between two pictures; a status record comes once a second
LINE_S = 5.0
WIDEST = 132  # columns
WIDE = 104  # columns from which figures and tasks stand side by side
NOTHING_SCORED = "nothing scored yet: that takes a join window"
FRESH_P50_MS, FRESH_P99_MS = 300, 1_000  # what is promised
_FRAME, _FLOW, _TASKS, _ADDRESSES = 2, 9, 7, 4  # lines of the parts; tasks are five, with a header and a note


@dataclass(slots=True)
class Facts:
    """What stays the same during a run."""

    http: str  # base address of the service
    learner: str  # and of the learner's metrics
    kafka: str
    prefix: str  # of the topics
    folder: str
    join_window_s: float
    events_per_s: float  # wanted
    seed: int
    seconds: float | None  # None: until Ctrl-C


async def show(
    facts: Facts, readings: Readings, activity: Activity, passed: Callable[[], float], variety: Callable[[], Varieties]
) -> None:  # fmt: skip
    """On stderr, until cancelled: the panel on a terminal, else a line every few seconds. `variety`: of what listeners were served."""
    console = Console(stderr=True)
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            await _picture(live, facts, readings, activity, passed, variety)
    while True:
        readings.note_actions(now_ms(), activity.actions)
        await asyncio.sleep(LINE_S)
        readings.note_actions(now_ms(), activity.actions)
        console.print(line(readings, activity, passed()), soft_wrap=True, highlight=False)


async def _picture(
    live: Live, facts: Facts, readings: Readings, activity: Activity, passed: Callable[[], float], variety: Callable[[], Varieties]
) -> None:  # fmt: skip
    """A terminal that goes away is a hang-up, also where the kernel tells another process of it (make, say)."""
    while live.console.is_terminal:
        readings.note_actions(now_ms(), activity.actions)
        readings.note_variety(now_ms(), variety)
        width, height = min(live.console.width, WIDEST), live.console.height
        live.update(panel(facts, readings, activity, passed(), width, height), refresh=True)
        await asyncio.sleep(PANEL_S)
    signal.raise_signal(signal.SIGHUP)
    await asyncio.Event().wait()


def panel(facts: Facts, readings: Readings, activity: Activity, passed_s: float, width: int, height: int) -> RenderableType:
    """The whole panel, at most `width` columns wide and, but for the smallest terminals, `height` lines high."""
    wide = width >= WIDE
    inner = width - 4
    left = min(inner, 58) if wide else inner
    rows = max(strategy_tables.rows(readings), 1)
    full = _FRAME + _FLOW + (0 if wide else 1 + _TASKS) + 1 + (1 + rows) + 1 + _ADDRESSES
    brief, gap = height < full and not wide, [] if height < full else [Text()]
    fixed = _FRAME + _FLOW + (1 if brief or wide else 2 + _TASKS) + 1 + _ADDRESSES
    flow, addresses = _flow(facts, readings, activity, left), _addresses(facts)
    strategies = strategy_tables.strategy_table(readings, inner, max(height - fixed, 1), passed_s)
    body: list[RenderableType]
    if wide:
        both = Table.grid(padding=(0, 3, 0, 0))
        both.add_row(flow, _tasks(readings, inner - left - 3))
        body = [both, Text(), strategies, *gap, addresses]
    elif brief:
        body = [flow, _aucs(readings), strategies, addresses]
    else:
        body = [flow, Text(), _tasks(readings, inner), Text(), strategies, Text(), addresses]
    title = Text.assemble((" Segue ", "bold"), (f"learns from simulated listeners · join window {facts.join_window_s:g} s ", QUIET))
    return Panel(
        Group(*body), title=title, title_align="left", box=box.ROUNDED, border_style=QUIET, width=width, padding=(0, 1),
        subtitle=Text(f" {_clock(passed_s)}{_to_go(facts, passed_s)} · Ctrl-C stops all ", QUIET), subtitle_align="right",
    )  # fmt: skip


def line(readings: Readings, activity: Activity, passed_s: float) -> str:
    """The same for a log: no colours, one line."""
    fresh, (collects, dislikes) = readings.recent_freshness(), readings.recent_shares()
    aucs = "  ".join(f"{task} {figure(m['auc'], '.3f')}" for task, m in readings.figures().items() if m["auc"] is not None)
    likeliest = {surface: max(of.strategies.items(), key=lambda s: s[1].propensity) for surface, of in readings.surfaces.items()}
    most_often = "".join(f"  {surface}s most often {name} {s.propensity:.0%}" for surface, (name, s) in likeliest.items())
    return (
        f"{_clock(passed_s)}  {readings.rate('events'):.0f} events/s  lag {figure(readings.lag, ',')}"
        f"  {readings.rate('examples'):.0f} examples/s  freshness p50 {figure(fresh.p50, ',')} p99 {figure(fresh.p99, ',')} ms"
        f"  collect rate {figure(collects, '.1%')}  dislikes/1,000 plays {figure(dislikes, '.1f')}"
        + (f"  AUC {aucs}" if aucs else "") + most_often
    )  # fmt: skip


def _flow(facts: Facts, readings: Readings, activity: Activity, width: int) -> Table:
    """What flows, how fresh, and what listeners do."""
    fresh, lag = readings.recent_freshness(), readings.lag
    collects, dislikes = readings.recent_shares()
    curve = max(min(width - 44, 30), 8)
    grid = Table.grid(column("", LABEL), column("", right=True), column(""), column("", QUIET), padding=(0, 2, 0, 0))

    def row(label: str, value: Text | str, note: str, curve_of: str = "", high: float = 0.0) -> None:
        points = bars(readings.curves.get(curve_of, ()), curve, 0.0, high)
        grid.add_row(label, value, Text(points.ljust(curve), CURVE), note)

    top = 1.5 * facts.events_per_s
    row("events/s", Text(f"{readings.rate('events'):,.0f}", "bold"), f"{readings.events:,} in all", "events", top)
    row("examples/s", Text(f"{readings.rate('examples'):,.0f}", "bold"), f"{readings.examples:,} in all", "examples", top)
    row("lag", Text(figure(lag, ","), "bold" if lag is None or lag < facts.events_per_s else BAD), "records to take in")
    row("freshness p50", _judged(fresh.p50, FRESH_P50_MS), f"{FRESH_P50_MS} ms promised", "p50", 1.5 * FRESH_P50_MS)
    row("freshness p99", _judged(fresh.p99, FRESH_P99_MS), f"{FRESH_P99_MS:,} ms promised", "p99", 1.5 * FRESH_P99_MS)
    row("collect rate", Text(figure(collects, ".1%"), "bold"), "of plays", "collects")
    row("dislikes", Text(figure(dislikes, ".1f"), "bold"), "per 1,000 plays", "dislikes")
    row("lists", Text(f"{activity.lists:,}", "bold"), _troubles(readings, activity))
    row("pages", Text(f"{activity.pages:,}", "bold"), "of modules")
    return grid


def _tasks(readings: Readings, width: int) -> RenderableType:
    """AUC of every task."""
    out = table(column("task", LABEL), column("AUC", right=True), column(""), column("scored", QUIET, right=True))
    curve = max(min(width - 34, 30), 8)
    for task, m in readings.figures().items():
        points = bars(readings.curves.get(task, ()), curve)
        out.add_row(task, Text(figure(m["auc"], ".3f"), "bold"), Text(points.ljust(curve), CURVE), figure(m["n"], ",.0f"))
    if not out.row_count:
        out.add_row(Text(NOTHING_SCORED, QUIET))
    return Group(out, Text("predicted before learned; fading, half-life 1 h", QUIET))


def _aucs(readings: Readings) -> Text:
    """AUC of every task in one line, for terminals without room for the table."""
    figures = readings.figures()
    if not figures:
        return Text(NOTHING_SCORED, QUIET)
    parts = (part for task, m in figures.items() for part in ((f"{task} ", QUIET), (f"{figure(m['auc'], '.3f')}  ", "bold")))
    return Text.assemble(("AUC  ", LABEL), *parts, no_wrap=True)


def _addresses(facts: Facts) -> Table:
    grid = Table.grid(column("", LABEL), Column(overflow="fold"), padding=(0, 2, 0, 0))
    grid.add_row("service", Text.assemble(f"{facts.http}/docs", ("  and /metrics", QUIET)))
    grid.add_row("learner", Text.assemble(f"{facts.learner}/metrics"))
    grid.add_row("Kafka", Text.assemble(facts.kafka, (f"  topics {facts.prefix}.*", QUIET)))
    grid.add_row("files", Text.assemble(facts.folder, (f"  seed {facts.seed}", QUIET)))
    return grid


def _to_go(facts: Facts, passed_s: float) -> str:
    if facts.seconds is None:
        return ""
    return f", {_clock(facts.seconds - passed_s)} to go" if passed_s < facts.seconds else ", closing"


def _troubles(readings: Readings, activity: Activity) -> str:
    counts = {"requests failed": activity.failed, "records rejected": sum(readings.rejected.values())}
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n) or "answered"


def _judged(value: int | None, promised: int) -> Text:
    return Text(f"{figure(value, ',')} ms", "bold" if value is None else GOOD if value < promised else BAD)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
