"""The front door: one command, `segue`. A verb parses, loads settings, calls one function, prints.

Results go to stdout (a table, or `--json`), progress and errors to stderr. Exit 0: done; 1: the result is negative;
2: the call was wrong. Everything heavy is imported inside the command that needs it: `segue --help` loads neither
torch nor Faust. The verbs stand in the files beside this one; importing such a file registers its verbs.
"""
from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import click

from streams.cli import inspection, live, offline, service, simulation, upkeep
from streams.cli.frame import PACKAGES, segue

__all__ = ["inspection", "live", "main", "offline", "segue", "service", "simulation", "stranger", "upkeep"]

KNOWN_RIVALS = {"bandit": "the security linter bandit", "replay": "the library replay-rec"}


def main() -> None:
    """Entry point of the `segue` command."""
    if intruder := stranger():
        click.echo(f"segue: {intruder}", err=True)
        sys.exit(2)
    segue.main(prog_name="segue")


def stranger() -> str | None:
    """One line that names the package that is not ours, and the way out; None where all four come from one folder."""
    ours = Path(__file__).resolve().parents[2]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        folder = Path(places[0]).resolve().parent if places else None
        if folder != ours:
            where = f"comes from {folder}, not from {ours}" if folder else f"is not in {ours}"
            who = f" ({KNOWN_RIVALS[name]} installs that name too)" if name in KNOWN_RIVALS else ""
            return f"the package `{name}` {where}{who}; uninstall what brought it, or give Segue a virtual environment of its own"
    return None
