"""The help of `segue` and of each verb, held against golden files: help is read before anything else is, so that a change is reviewed.

`REMAKE_GOLDEN=1 pytest -k golden` (`make golden`) writes the files anew.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli.main import segue

GOLDEN = Path(__file__).parent / "golden"
WIDTH = 110  # columns, the widest that help gets


@pytest.mark.parametrize("name", ["segue", *sorted(segue.commands)])
def test_help_is_the_golden_file(name: str) -> None:
    arguments = ["--help"] if name == "segue" else [name, "--help"]
    output = CliRunner().invoke(segue, arguments, prog_name="segue", terminal_width=WIDTH).output
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("REMAKE_GOLDEN"):
        file.write_text(output, encoding="utf-8")
    assert output == file.read_text(encoding="utf-8")


def test_golden_files_are_those_of_the_verbs_there_are() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {"segue", *segue.commands}
