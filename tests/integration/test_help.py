"""The last line of each verb's help, pasted into a shell as it stands."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import segue
from streams.kafka_io.topics import TopicSettings
from tests.paths import ROOT

MakeTopics = Callable[[int], TopicSettings]

RUN_ELSEWHERE = {"run"}  # by test_run.py, with --json
PROGRESS = re.compile(r"segue: [\d,]+ (of about [\d,]+ )?rows\b")  # of what takes long on a slow machine



@pytest.mark.broker
@pytest.mark.parametrize("verb", sorted(set(segue.commands) - RUN_ELSEWHERE))
def test_the_last_line_of_help_can_be_pasted_and_works(verb: str, tmp_path: Path, topic_settings: MakeTopics) -> None:
    """`segue broker -- COMMAND` is the broker's own line; in others it stands for one that is there already, with topics of their own."""
    line = CliRunner().invoke(segue, [verb, "--help"]).output.rstrip().splitlines()[-1].strip()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "segue"
    there = "" if verb == "broker" else 'test "$1 $2" = "broker --" && shift 2 && exec "$@"\n'
    program.write_text(f'#!/bin/sh\n{there}exec {sys.executable} -P -m streams "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")}
    environment |= {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if verb != "broker" and "segue broker" in line:
        settings = topic_settings(4)
        environment |= {"SEGUE_TOPICS__BOOTSTRAP": settings.bootstrap, "SEGUE_TOPICS__PREFIX": settings.prefix}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    refused = [line for line in done.stderr.splitlines() if line.startswith("segue: ") and not PROGRESS.match(line)]
    assert "Traceback" not in done.stderr and refused == [], done.stderr
