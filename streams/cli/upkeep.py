"""Verbs of whoever keeps it running: settings, checkpoints, and whether this machine is fit."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.frame import as_json, verb, with_settings

if TYPE_CHECKING:
    from streams.settings import Loaded


@verb("segue config --set partition.join_window_ms=60000")
@with_settings
@as_json
def config(loaded: Loaded, as_json: bool) -> None:
    """Print every setting, what it is, and where that came from: a settings file as it stands."""
    from streams.cli.console import emit
    from streams.settings import toml

    if as_json:
        emit({value.key: {"value": value.value, "source": value.source} for value in loaded.values})
    else:
        click.echo(toml(loaded.values), nl=False)


@verb("segue checkpoint")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="where they lie  [default: learner_process.checkpoint_dir]")
@with_settings
@as_json
def checkpoint(root: Path | None, loaded: Loaded, as_json: bool) -> None:
    """List the learner's checkpoints (epoch-offset), oldest first, each compared with its checksums; exit 1 if one is damaged."""
    from online_model import checkpoint as saved
    from streams.cli.console import emit

    folder = root or Path(loaded.settings.learner_process.checkpoint_dir)
    told: dict[str, str] = {}
    for name in saved.names(folder):
        try:
            saved.load(folder / name)
            told[name] = "whole"
        except (saved.Corrupt, saved.Incompatible) as error:
            told[name] = str(error)
    if as_json:
        emit(told)
    else:
        click.echo("\n".join(f"{name}  {state}" for name, state in told.items()) or f"no checkpoint in {folder}")
    if any(state != "whole" for state in told.values()):
        sys.exit(1)


@verb("segue doctor")
@with_settings
@as_json
def doctor(loaded: Loaded, as_json: bool) -> None:
    """Look at the installation, this machine and the broker; say what is wrong and the way out; exit 1 if Segue can't run."""
    from streams.cli.console import emit
    from streams.doctor import examine

    findings = examine(loaded.settings.topics, loaded.settings.stores)
    if as_json:
        emit(findings)
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'NO  ' if finding.needed else 'note'}  {finding.what}: {finding.found}")
            if not finding.ok and finding.remedy:
                click.echo(f"      {finding.remedy}")
    if any(finding.needed and not finding.ok for finding in findings):
        sys.exit(1)
