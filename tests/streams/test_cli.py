"""The command line: what it imports, how its help ends, what it answers with."""
from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from replay.simulator import WorldSettings
from streams.cli import segue

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(segue, arguments)


def test_help_imports_neither_torch_nor_faust() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from streams.cli import segue\n"
        "assert CliRunner().invoke(segue, ['--help']).exit_code == 0\n"
        "print(sorted({'torch', 'faust', 'numpy', 'kafka'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(segue.commands))
def test_every_help_ends_in_a_line_that_parses(name: str) -> None:
    last = call(name, "--help").output.rstrip().splitlines()[-1].strip()
    for part in last.split(" && "):
        program, verb, *rest = shlex.split(part)
        assert program == "segue"
        rest = [__file__ if word.endswith(".jsonl") else word for word in rest]  # what the line before it wrote
        try:
            segue.commands[verb].make_context(verb, list(rest))
        except click.exceptions.Exit as stop:
            assert stop.exit_code == 0
            assert rest == ["--help"]


def test_simulate_validate_and_replay_agree_on_the_rows(tmp_path: Path) -> None:
    log, items = str(tmp_path / "events.jsonl"), str(tmp_path / "items.jsonl")
    made = json.loads(call("simulate", "--events", "300", "-o", log, "--items", items, "--json").stdout)
    assert (made["events"], made["items"]) == (300, WorldSettings().items)
    checked = json.loads(call("validate", log, "--format", "jsonl", "--json").stdout)
    assert (checked["rows"], checked["bad"]) == (300, {})


def test_config_says_where_a_value_came_from() -> None:
    told = json.loads(call("config", "--set", "partition.history_limit=7", "--json").stdout)
    assert told["partition.history_limit"] == {"value": 7, "source": "--set partition.history_limit=7"}
    assert told["topics.prefix"] == {"value": "segue", "source": "default"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("config", "--set", "x=1"), 2),
        (("validate", "nowhere.jsonl", "--format", "jsonl"), 2),
        (("replay", "--format", "topic"), 2),
        (("dead-letters", "--json", "extra"), 2),
    ],
)
def test_wrong_call_ends_with_2(arguments: tuple[str, ...], code: int) -> None:
    assert call(*arguments).exit_code == code


def test_no_checkpoint_is_an_empty_list(tmp_path: Path) -> None:
    done = call("checkpoint", "--root", str(tmp_path), "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {})
