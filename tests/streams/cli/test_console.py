"""What a command prints: one JSON document or lines on stdout, progress on stderr."""
from __future__ import annotations

import json

import pytest
from rich.table import Table

from streams.cli.console import emit_line, progress, show, show_tables


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
