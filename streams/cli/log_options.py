"""The options that say which log is read, and how."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from streams.cli.frame import CallError, Verb, bundled, pairs

if TYPE_CHECKING:
    from replay.log_rows import LogRow
    from replay.logs import Format
    from replay.prequential import Numbered
    from streams.core.join.items import Item

FORMATS = ("jsonl", "csv", "parquet", "kuairand", "open-bandit", "amazon-cross-domain", "30music")


class Log(NamedTuple):
    """The options of a log: its files, and how they are read."""

    paths: tuple[Path, ...]
    form: str
    fields: dict[str, str]
    constants: dict[str, str]
    actions: dict[str, str]
    time: str
    items_file: Path | None
    sort: bool

    @property
    def name(self) -> str:
        """The names of its files."""
        return ", ".join(path.name for path in self.paths)

    def kind(self) -> Format:
        """Its format; only for logs of files."""
        from replay.logs import Format

        return Format(self.form)

    def arrivals(self, earliest_ts: int) -> Iterator[Numbered]:
        """Its records, decoded; events before `earliest_ts` are rejected. Raises CallError where no file was named."""
        from replay.prequential import of_file

        return of_file(self.rows(earliest_ts), earliest_ts)

    def rows(self, earliest_ts: int) -> Iterator[LogRow]:
        """Its rows, read anew at each call. Raises CallError where no file was named."""
        from replay.log_rows import Columns
        from replay.logs import read

        if not self.paths:
            raise CallError("LOGS: name at least one file")
        columns = Columns(fields=self.fields, constants=self.constants, actions=self.actions, time=self.time)
        return read(self.paths, self.kind(), columns, self.sort, earliest_ts)

    def items(self) -> Iterator[Item]:
        """The catalog: of `--items`, else of the data set's side file."""
        from replay import logs

        if self.items_file:
            return logs.items_file(self.items_file)
        return logs.items(self.paths, self.kind()) if self.paths and self.form in FORMATS else iter(())


def with_log(formats: Sequence[str]) -> Callable[[Verb], Verb]:
    """Add the options that say how a log is read; the verb gets `log`."""
    file = click.Path(path_type=Path, exists=True, dir_okay=False)

    def assignments(option: str, name: str, metavar: str, text: str) -> Callable[[Verb], Verb]:
        return click.option(option, name, multiple=True, callback=pairs, metavar=metavar, help=text)

    def decorate(function: Verb) -> Verb:
        call = bundled(Log, "log")(function)
        for option in (
            click.option("--sort", is_flag=True, help="sort the rows by time first (in memory)"),
            click.option("--items", "items_file", type=file, help="catalog: JSON lines of items, loaded before the first event"),
            click.option(
                "--time",
                default="ms",
                type=click.Choice(("ms", "s", "us", "iso")),
                help="unit of the times; iso: with a zone  [default: ms]",
            ),
            assignments("--action", "actions", "VALUE=ACTION", "meaning of a value of the action column"),
            assignments("--const", "constants", "FIELD=VALUE", "the same value in every row"),
            assignments("--map", "fields", "FIELD=COLUMN", "column of a field; also context.NAME, also.ACTION"),
            click.option("--format", "form", required=True, type=click.Choice(formats), help="format of the log"),
            click.argument("paths", metavar="[LOGS]...", nargs=-1, type=file),
        ):
            call = option(call)
        return call

    return decorate
