"""`segue inspect`: sample, columns, profile and command of a log of one's own, one after the other."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import msgspec

from replay import logs
from replay.inspect.columns import Roles, roles
from replay.inspect.command import command
from replay.inspect.profile import Profile, Profiler, lines, prospects
from replay.inspect.sample import TEXT_FORMS, Sample, sample
from replay.log_rows import Columns, LogRow
from replay.log_times import with_form
from replay.prequential import of_file
from streams.core.join.settings import PartitionSettings

ROWS = 50_000  # of the profile


class Inspection(msgspec.Struct, frozen=True, kw_only=True):
    """What a log is."""

    files: list[str]
    format: str
    delimiter: str
    header: bool
    columns: dict[str, str]  # field -> column, path or expression, and what it looks like
    notes: list[str]  # what was assumed
    missing: str  # why it can't be replayed; nothing where it can
    whole: bool  # the profile is of the whole log
    profile: Profile | None
    prospects: list[str]
    command: str

    def lines(self) -> Iterator[str]:
        """For people."""
        of = f", {len(self.files)} files" if len(self.files) > 1 else ""
        cells = f", cells separated by {self.delimiter!r}" if self.delimiter else ""
        yield f"{self.files[0]}{of}: {self.format}{cells}" + ("" if self.header else ", no header")
        yield from (f"  {field}: {looks}" for field, looks in self.columns.items())
        yield from (f"note: {note}" for note in self.notes)
        if self.profile is not None:
            yield "" if self.whole else f"of the first {self.profile.rows:,} rows:"
            yield from lines(self.profile)
            yield from self.prospects
        if self.missing:
            yield f"It can't be replayed: {self.missing}"
        else:
            yield ""
            yield self.command


def inspect(paths: Sequence[Path], settings: PartitionSettings, earliest_ts: int, latest_ms: int) -> Inspection:
    """Look at the beginning of a log. Times lie between 1990 and `latest_ms`; `earliest_ts`: as the settings say."""
    found = sample(paths)
    special = found.form not in TEXT_FORMS
    own = found.form is logs.Format.JSONL and _is_ours(found)
    if special or own:
        guess = Roles(with_form(found.files, found.form, Columns(), latest_ms), [], [])
    else:
        guess = roles(found, latest_ms)
    notes = [*guess.notes, *(f"{path} is of another form, or has other columns, and is left out." for path in found.left)]
    profile, whole = None, True
    if not guess.missing:
        profiler = Profiler(settings)
        rows = chain.from_iterable(logs.rows(path, found.form, guess.columns) for path in found.files)
        first = list(islice(rows, ROWS + 1))
        whole = len(first) <= ROWS
        for _ in profiler.of(of_file(_kept(first[:ROWS], profiler), earliest_ts)):
            pass
        profile = profiler.profile()
    named = found.files if found.left or len(paths) > 1 else paths
    sort = profile is not None and (profile.disordered > 0 or not whole or len(found.files) > 1)
    return Inspection(
        files=[str(path) for path in found.files], format=found.form.value,
        delimiter=found.columns.delimiter, header=found.header,
        columns={role.field: f"{role.source} ({role.looks})" for role in guess.roles}, notes=notes, missing=guess.missing, whole=whole,
        profile=profile, prospects=list(prospects(profile, guess.rating)) if profile else [],
        command=command(named, found.form, guess.columns, profile, sort) if profile else "",
    )  # fmt: skip


def _is_ours(found: Sample) -> bool:
    return bool(found.rows) and any({"ts", "user_id", "item_id", "action"} <= row.keys() or "kind" in row for row in found.rows[:20])


def _kept(rows: Sequence[LogRow], profiler: Profiler) -> Iterator[LogRow]:
    for row in rows:
        if row.omitted:
            profiler.leave_out(row)
        else:
            yield row
