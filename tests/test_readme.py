"""The README's commands, run as they stand there."""
from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BLOCKS = re.findall(r"```\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.splitlines()]


def test_every_command_is_of_segue_or_a_target_of_make() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {c.removeprefix("make ") for c in COMMANDS if c.startswith("make ")} <= targets
    assert all(c.startswith((".venv/bin/segue ", "make ")) for c in COMMANDS)


@pytest.mark.parametrize("file", ["events.jsonl", "plays.csv"])
def test_commands_of_segue_end_well(file: str, tmp_path: Path) -> None:
    (tmp_path / "plays.csv").write_text("listener,track,at\na,x,2024-01-01T00:00:00Z\nb,y,2024-01-01T00:01:00Z\n")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    commands = [c.split()[1:] for c in COMMANDS if c.startswith(".venv/bin/segue") and file in c]
    assert len(commands) == 2
    for arguments in commands:
        done = subprocess.run([sys.executable, "-m", "streams", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
