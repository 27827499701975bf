"""The command that replays a log, complete: it can be pasted and works."""
from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from replay.inspect.profile import Profile
from replay.log_rows import Columns
from replay.logs import Format

NEXT = 20  # items of a list that is asked for just before a play


def command(paths: Sequence[Path], form: Format, columns: Columns, profile: Profile, sort: bool) -> str:
    """`segue replay …` for these files."""
    return " ".join(["segue", "replay", *(shlex.quote(part) for part in _parts(paths, form, columns, profile, sort))])


def _parts(paths: Sequence[Path], form: Format, columns: Columns, profile: Profile, sort: bool) -> Iterator[str]:
    yield from (str(path) for path in paths)
    yield from ("--format", form.value)
    if columns.names:
        yield from ("--columns", ",".join(columns.names))
    if columns.names or len(columns.delimiter) > 1:
        yield from ("--delimiter", {"\t": "tab", " ": "space"}.get(columns.delimiter, columns.delimiter))
    if not columns.quotes:
        yield "--no-quotes"
    for option, assignments in (
        ("--map", columns.fields), ("--label", columns.labels), ("--const", columns.constants), ("--action", columns.actions),
    ):  # fmt: skip
        for key, value in assignments.items():
            yield from (option, f"{key}={value}")
    if columns.time != "ms":
        yield from ("--time", columns.time)
    if columns.zone:
        yield from ("--zone", columns.zone)
    if sort:
        yield "--sort"
    if not profile.exposures:
        yield from ("--next", str(NEXT))
