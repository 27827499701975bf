"""What a replay prints: every figure whole, on the narrowest terminal."""
from __future__ import annotations

import io

from rich.console import Console

from online_model.features import TASKS
from online_model.tally import TaskMetrics
from replay.prequential import Result
from replay.report import summary

FIGURES = TaskMetrics(
    auc=0.71649, gauc=0.61253, logloss=0.51231, ne=0.88124, rig=0.11876, ece=0.01, copc=1.00213, n=9_876_543.0, positives=1_234_567.0
)  # fmt: skip


def test_a_terminal_of_80_columns_shows_every_figure_whole() -> None:
    metrics = dict.fromkeys(TASKS, FIGURES)
    result = Result(
        rows=9, events=9, examples=9, rejected={}, seconds=1.0, learned_s=1.0, metrics=metrics, since_ms=0, since=metrics,
        digest="d", digests={}, windows=[], fading={}, steps=1, step_span_ms=200, counted={}, rejections=[], notes=[], first_ms=0,
        last_ms=0,
    )  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=80).print(*summary(result), sep="\n")
    rows = [line.split() for line in out.getvalue().splitlines() if line.strip().startswith(TASKS)]
    assert [row[0] for row in rows] == [*TASKS, *TASKS]
    assert {(row[1], *row[3:]) for row in rows} == {("0.7165", "0.6125", "0.5123", "0.8812", "1.0021", "9,876,543", "1,234,567")}
    assert "…" not in out.getvalue()
