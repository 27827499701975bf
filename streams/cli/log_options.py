"""The options that say which log is read, and how."""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from streams.cli.frame import CallError, Verb, bundled, pairs

if TYPE_CHECKING:
    from replay.log_rows import LogRow
    from replay.logs import Format
    from streams.core.join.items import Item

FORMATS = ("jsonl", "csv", "parquet", "kuairand", "open-bandit", "amazon-cross-domain", "30music")


class LogOptions(NamedTuple):
    """The options of a log, as they were given."""

    logs: tuple[Path, ...]
    form: str
    fields: tuple[str, ...]
    constants: tuple[str, ...]
    actions: tuple[str, ...]
    time: str
    items_file: Path | None
    sort: bool


class Log(NamedTuple):
    """A log: its files, and how they are read."""

    paths: tuple[Path, ...]
    form: str
    columns: dict[str, Any]
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

    def rows(self) -> Iterator[LogRow]:
        """Its rows, read anew at each call. Raises CallError where no file was named."""
        from replay.log_rows import Columns
        from replay.logs import read

        if not self.paths:
            raise CallError("LOGS: name at least one file")
        return read(self.paths, self.kind(), Columns(**self.columns), self.sort)

    def items(self) -> Iterator[Item]:
        """The catalog: of `--items`, else of the data set's side file."""
        from replay import logs

        if self.items_file:
            return logs.items_file(self.items_file)
        return logs.items(self.paths, self.kind()) if self.paths and self.form in FORMATS else iter(())


def with_log(formats: Sequence[str]) -> Callable[[Verb], Verb]:
    """Add the options that say how a log is read; the verb gets `log`."""
    file = click.Path(path_type=Path, exists=True, dir_okay=False)

    def decorate(function: Verb) -> Verb:
        @functools.wraps(function)
        @bundled(LogOptions)
        def call(options: LogOptions, **rest: Any) -> Any:
            o = options
            columns = {
                "fields": pairs("--map", o.fields), "constants": pairs("--const", o.constants), "actions": pairs("--action", o.actions),
                "time": o.time,
            }  # fmt: skip
            return function(log=Log(o.logs, o.form, columns, o.items_file, o.sort), **rest)

        for option in (
            click.option("--sort", is_flag=True, help="sort the rows by time first (in memory)"),
            click.option("--items", "items_file", type=file, help="catalog: JSON lines of items, loaded before the first event"),
            click.option("--time", default="ms", type=click.Choice(("ms", "s", "us", "iso")), help="unit of the times  [default: ms]"),
            click.option("--action", "actions", multiple=True, metavar="VALUE=ACTION", help="meaning of a value of the action column"),
            click.option("--const", "constants", multiple=True, metavar="FIELD=VALUE", help="the same value in every row"),
            click.option(
                "--map", "fields", multiple=True, metavar="FIELD=COLUMN", help="column of a field; also context.NAME, also.ACTION"
            ),
            click.option("--format", "form", required=True, type=click.Choice(formats), help="format of the log"),
            click.argument("logs", nargs=-1, type=file),
        ):
            call = option(call)
        return call

    return decorate
