"""A replay's result for `--json`: the same few hundred numbers however long the log is. Windows and strategies are summed up.

Every window and every hour of a strategy is in `result.json` of `--report`.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite, sqrt
from statistics import median
from typing import Any

import msgspec
from msgspec import to_builtins

from online_model.metrics import WindowResult
from online_model.tally import TaskMetrics
from replay.prequential import Result
from streams.core.learning.live_value import StrategyValue


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A figure over windows; of those in which it is defined."""

    windows: int
    least: float | None
    median: float | None
    most: float | None


class TaskWindows(msgspec.Struct, frozen=True, kw_only=True):
    """One task in all windows of a width."""

    n: float
    positives: float
    auc: Spread
    ne: Spread
    copc: Spread


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """All windows of a width."""

    width_ms: int
    windows: int
    start_ms: int  # of the first
    end_ms: int  # of the last
    late: int  # rows that came after their window had closed
    tasks: dict[str, TaskWindows]


class StrategyTotal(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy over all its hours, each weighed by its rounds; errors as if hours were independent."""

    surface: str
    strategy: str
    hours: int
    n: int
    chosen: int
    experience: float
    experience_error: float | None
    revenue: float
    revenue_error: float | None


def document(result: Result) -> dict[str, Any]:
    """The result as builtins for JSON, of bounded size."""
    found: dict[str, Any] = to_builtins(msgspec.structs.replace(result, windows=[], strategies=[]))
    return found | {"windows": to_builtins(by_width(result.windows)), "strategies": to_builtins(totals(result.strategies))}


def by_width(windows: Sequence[WindowResult]) -> list[Windows]:
    """Windows summed up by their width, narrow ones first."""
    out = []
    for width in sorted({window.width_ms for window in windows}):
        same = [window for window in windows if window.width_ms == width]
        tasks = {task: _of_task([window.tasks[task] for window in same]) for task in same[0].tasks}
        out.append(
            Windows(
                width_ms=width, windows=len(same), start_ms=min(window.start_ms for window in same),
                end_ms=max(window.end_ms for window in same), late=max(window.late for window in same), tasks=tasks,
            )
        )  # fmt: skip
    return out


def totals(values: Iterable[StrategyValue]) -> list[StrategyTotal]:
    """Hours of each strategy summed up."""
    hours: dict[tuple[str, str], list[StrategyValue]] = {}
    for value in values:
        hours.setdefault((value.surface, value.strategy), []).append(value)
    out = []
    for (surface, strategy), each in sorted(hours.items()):
        n = [hour.n for hour in each]
        out.append(
            StrategyTotal(
                surface=surface, strategy=strategy, hours=len(each), n=sum(n), chosen=sum(hour.chosen for hour in each),
                experience=_mean(n, [hour.experience for hour in each]), revenue=_mean(n, [hour.revenue for hour in each]),
                experience_error=_error(n, [hour.experience_error for hour in each]),
                revenue_error=_error(n, [hour.revenue_error for hour in each]),
            )
        )  # fmt: skip
    return out


def _of_task(figures: Sequence[TaskMetrics]) -> TaskWindows:
    return TaskWindows(
        n=sum(each.n for each in figures), positives=sum(each.positives for each in figures),
        auc=spread([each.auc for each in figures]), ne=spread([each.ne for each in figures]), copc=spread([each.copc for each in figures]),
    )  # fmt: skip


def spread(values: Sequence[float]) -> Spread:
    """Least, median and most of what is defined.

    >>> spread([0.5, float("nan"), 0.75])
    Spread(windows=2, least=0.5, median=0.625, most=0.75)
    """
    there = [value for value in values if isfinite(value)]
    if not there:
        return Spread(windows=0, least=None, median=None, most=None)
    return Spread(windows=len(there), least=min(there), median=median(there), most=max(there))


def _mean(n: Sequence[int], values: Sequence[float]) -> float:
    return sum(k * value for k, value in zip(n, values, strict=True)) / max(sum(n), 1)


def _error(n: Sequence[int], errors: Sequence[float | None]) -> float | None:
    """Of the mean over hours; None where an hour has none, being of one round."""
    known = [(k, error) for k, error in zip(n, errors, strict=True) if error is not None]
    if len(known) < len(errors):
        return None
    return sqrt(sum((k * error) ** 2 for k, error in known)) / max(sum(n), 1)
