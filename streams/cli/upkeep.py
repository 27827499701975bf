"""Verbs of operation: settings, checkpoints, and the state of this machine."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.console import show
from streams.cli.frame import as_json, verb, with_settings

if TYPE_CHECKING:
    from streams.settings import Loaded


@verb("segue config --set partition.join_window_ms=60000")
@with_settings
@as_json
def config(loaded: Loaded, as_json: bool) -> None:
    """Print every setting with its value and its source, as a settings file."""
    from streams.settings import toml

    by_key = {value.key: {"value": value.value, "source": value.source} for value in loaded.values}
    show(by_key, [toml(loaded.values).rstrip("\n")], as_json)


@verb("segue checkpoint")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="their folder  [default: learner_process.checkpoint_dir]")
@with_settings
@as_json
def checkpoint(root: Path | None, loaded: Loaded, as_json: bool) -> None:
    """List the learner's checkpoints (epoch-offset), oldest first, each compared with its checksums; exit 1 if one is damaged."""
    from online_model import checkpoint as saved

    folder = root or Path(loaded.settings.learner_process.checkpoint_dir)
    states: dict[str, str] = {}
    for name in saved.names(folder):
        try:
            saved.load(folder / name)
            states[name] = "whole"
        except (saved.Corrupt, saved.Incompatible) as error:
            states[name] = str(error)
    show(states, [f"{name}  {state}" for name, state in states.items()] or [f"no checkpoint in {folder}"], as_json)
    if any(state != "whole" for state in states.values()):
        sys.exit(1)


@verb("segue doctor")
@with_settings
@as_json
def doctor(loaded: Loaded, as_json: bool) -> None:
    """Check the installation, this machine and the broker; print what is wrong and its remedy; exit 1 if Segue can't run."""
    from streams.doctor import examine

    findings = examine(loaded.settings.topics, loaded.settings.stores)
    show(findings, [line for finding in findings for line in finding.lines()], as_json)
    if any(finding.needed and not finding.ok for finding in findings):
        sys.exit(1)
