"""The last line of each verb's help, pasted into a shell as it stands."""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import segue
from tests.paths import ROOT

RUN_ELSEWHERE = {"run"}  # by test_run.py, with --json


@pytest.mark.broker
@pytest.mark.parametrize("verb", sorted(set(segue.commands) - RUN_ELSEWHERE))
def test_the_last_line_of_help_can_be_pasted_and_works(verb: str, tmp_path: Path) -> None:
    line = CliRunner().invoke(segue, [verb, "--help"]).output.rstrip().splitlines()[-1].strip()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "segue"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m streams "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGUE_")}
    environment |= {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr and "\nsegue: " not in f"\n{done.stderr}", done.stderr
