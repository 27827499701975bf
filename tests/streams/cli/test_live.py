"""Verbs at a broker: what they print of a record, and what becomes of a broker that is away."""
from __future__ import annotations

import subprocess
import sys

import msgspec
from click.testing import CliRunner

from streams.cli.live import WINDOWS, _has_width, _metric_lines
from streams.cli.main import segue
from streams.core.learning.live_value import StrategyValue
from tests.paths import ROOT


def test_unreachable_broker_is_one_line_and_a_no() -> None:
    command = [sys.executable, "-m", "streams", "topics", "--broker", "127.0.0.1:1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr


def test_a_strategys_hour_is_a_line_with_its_value_and_what_stands_behind_it() -> None:
    hour = StrategyValue(
        surface="page", strategy="blend-0.25", start_ms=1_700_002_800_000, end_ms=1_700_006_400_000, n=1_200, chosen=80, ess=64.4,
        experience=0.25, experience_error=0.0312, experience_mean=0.2, revenue=0.5, revenue_error=None, revenue_mean=0.4, late=0,
    )  # fmt: skip
    assert list(_metric_lines(msgspec.json.decode(msgspec.json.encode(hour)))) == [
        "2023-11-14 23:00 +60 min  page blend-0.25      experience 0.2500 ± 0.0312  revenue 0.5000  chosen 80 of 1,200  ESS 64"
    ]


def test_windows_that_metrics_can_be_asked_for_are_those_there_are() -> None:
    from online_model.metrics import WIDTHS_MS

    assert tuple(WINDOWS.values()) == WIDTHS_MS


def test_a_width_leaves_windows_of_others_out_and_all_that_has_none_in() -> None:
    five, hour, status = {"width_ms": 300_000, "tasks": {}}, {"width_ms": 3_600_000, "tasks": {}}, {"kind": "worker"}
    assert [[_has_width(record, width) for record in (five, hour, status)] for width in (None, "5m", "1h")] == [
        [True, True, True], [True, False, True], [False, True, True],
    ]  # fmt: skip


def test_a_window_of_tasks_is_a_line_a_task_that_has_examples_and_what_is_undefined_is_a_dash() -> None:
    figures = {"auc": 0.75, "gauc": None, "ne": 0.5, "copc": 1.0, "n": 1_200}
    window = {"start_ms": 1_700_002_800_000, "width_ms": 300_000, "tasks": {"skip": figures, "share": figures | {"n": 0}}}
    assert list(_metric_lines(window)) == ["2023-11-14 23:00 +5 min  skip       auc 0.7500  gauc –  ne 0.5000  copc 1.0000  n 1,200"]


def test_status_is_a_line_with_lag_over_all_partitions_and_the_version() -> None:
    worker = {
        "kind": "worker", "at_ms": 1_700_002_800_000, "slot": "a", "partitions": {"0": {"lag": 3}, "1": {"lag": 4}},
        "counted": {"events": 1_234}, "model_version": None,
    }  # fmt: skip
    learner = worker | {"kind": "learner", "lag": 5, "version": 9}
    unknown = worker | {"partitions": {"0": {"lag": 3}, "1": {"lag": -1}}}
    assert [line for record in (worker, learner, unknown, ["else"]) for line in _metric_lines(record)] == [
        "2023-11-14 23:00:00 worker a  lag 7  version –  events 1,234",
        "2023-11-14 23:00:00 learner a  lag 5  version 9  events 1,234",
        "2023-11-14 23:00:00 worker a  lag unknown  version –  events 1,234",
        "['else']",
    ]


def test_a_run_begins_in_a_folder_that_is_not_there() -> None:
    done = CliRunner().invoke(segue, ["run", "--dir", str(ROOT)])
    assert done.exit_code == 2 and "is there already" in done.stderr
