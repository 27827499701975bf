"""What a command prints: one JSON document or lines on stdout, progress on stderr."""
from __future__ import annotations

import json

import pytest
from rich.table import Table

from streams.cli import console
from streams.cli.console import Pace, emit_line, progress, show, show_tables


def test_a_result_is_one_json_document_or_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    show({"n": float("inf")}, ["never"], as_json=True)
    assert json.loads(capsys.readouterr().out) == {"n": None}
    show({"n": 1}, ["one", "two"], as_json=False)
    assert capsys.readouterr().out == "one\ntwo\n"


def test_tables_are_for_people_alone(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("task")
    table.add_row("skip")
    show_tables([1], [table], as_json=True)
    assert json.loads(capsys.readouterr().out) == [1]
    show_tables([1], [table, "done"], as_json=False)
    out = capsys.readouterr().out
    assert "skip" in out and out.endswith("done\n")


def test_a_stream_is_a_line_a_record(capsys: pytest.CaptureFixture[str]) -> None:
    for n in (1, 2):
        emit_line({"n": n})
    assert capsys.readouterr().out == '{"n":1}\n{"n":2}\n'


def test_progress_leaves_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("rows") as update:
        update(1_000, 1_700_002_800_000)
    assert capsys.readouterr().out == ""


def test_progress_off_a_terminal_is_a_line_now_and_then_with_total_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    shares = iter([0.25, 0.5, None])
    with progress("rows", lambda: next(shares)) as update:
        update(1_000, 1_700_002_800_000)
        update(2_000, -1)
        update(3_000, -1)
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == "segue: 1,000 of about 4,000 rows, 25 %  2023-11-14 23:00 UTC"
    assert second.startswith("segue: 2,000 of about 4,000 rows, 50 %  ") and second.endswith("/s  0:00:00 left")
    assert third.startswith("segue: 3,000 rows  ") and "left" not in third
    monkeypatch.undo()
    with progress("rows") as update:
        update(1_000, -1)
    assert capsys.readouterr().err.strip() == ""  # the first comes after some seconds


def test_a_pace_counts_from_the_first_line_of_a_pass() -> None:
    pace = Pace("rows", 0.0)
    pace.line(100, 0.1, -1, 60.0)  # a minute went into sorting
    assert pace.line(200, 0.2, -1, 70.0) == "200 of about 1,000 rows, 20 %  10/s  0:01:20 left"
    assert pace.line(100, 0.1, -1, 90.0) == "100 of about 1,000 rows, 10 %"  # once more
