"""Verbs that look at a log before anything is done with it."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streams.cli.console import progress, show
from streams.cli.frame import CallError, as_json, verb, with_settings
from streams.cli.log_options import FORMATS, YEAR_MS, Log, with_log

if TYPE_CHECKING:
    from streams.settings import Loaded


@verb("segue simulate --events 2000 -o events.jsonl && segue inspect events.jsonl")
@click.argument("paths", metavar="LOGS...", nargs=-1, type=click.Path(path_type=Path))
@with_settings
@as_json
def inspect(paths: tuple[Path, ...], loaded: Loaded, as_json: bool) -> None:
    """Say what a file of your own is, what it can answer, and print the command that replays it; exit 1 if it is no log.

    LOGS are files of plays, ratings or exposures: CSV (any delimiter), JSON (lines, one array, objects over several lines) or Parquet,
    packed or not; a folder, a zip archive or a pattern of names stands for its files. Beginnings are read, not whole files.
    """
    from replay.inspect.inspection import inspect as look
    from streams.clock import now_ms

    if not paths:
        raise CallError("LOGS: name at least one file")
    found = look(paths, loaded.settings.partition, loaded.settings.events.earliest_ts, now_ms() + YEAR_MS)
    show(found, found.lines(), as_json)
    if found.missing:
        sys.exit(1)


@verb("segue simulate --events 2000 -o events.jsonl && segue validate events.jsonl --format jsonl")
@with_log(FORMATS, required=False)
@click.option("--show", "most", default=10, show_default=True, help="complaints to print of each reason")
@with_settings
@as_json
@click.pass_context
def validate(context: click.Context, log: Log, most: int, loaded: Loaded, as_json: bool) -> None:
    """Check a log (and a catalog) line by line, with the core's own decoder and rules; exit 1 if a record is invalid.

    Also prints what is in the log, and what `segue evaluate` can estimate from it. Without --format: the same as `segue inspect`.
    """
    from replay.inspect.profile import lines
    from replay.validate import validate as check_log

    if not log.form:
        context.invoke(inspect, paths=log.paths, config=None, assignments=(), broker_at=None, as_json=as_json)
        return
    with log.metered() as share, progress("records", share) as update:
        arrivals = log.arrivals(loaded.settings.events.earliest_ts)
        verdict = check_log(log.name, arrivals, log.items(), loaded.settings.partition, most, update)
    more = [f"… and {n - most:,} more: {reason}" for reason, n in verdict.bad.items() if n > most]
    counts = f"{verdict.rows:,} records, {verdict.good:,} good"
    evaluate = [f"evaluate: {line}" for line in verdict.evaluate]
    show(verdict, [*verdict.complaints, *more, counts, *lines(verdict.profile), *evaluate], as_json)
    if verdict.bad:
        sys.exit(1)
