"""The options that say which log, and how it is to be read."""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from streams.cli.frame import CallError, Verb, pairs

if TYPE_CHECKING:
    from replay.log_rows import Columns, LogRow
    from replay.logs import Format
    from streams.core.join.items import Item

FORMATS = ("jsonl", "csv", "parquet", "kuairand", "open-bandit", "amazon-cross-domain", "30music")


class Log(NamedTuple):
    """What the options of a log say."""

    paths: tuple[Path, ...]
    form: str
    columns: dict[str, Any]
    items_file: Path | None
    sort: bool

    @property
    def name(self) -> str:
        return ", ".join(path.name for path in self.paths)

    def mapping(self) -> Columns:
        from replay.log_rows import Columns

        return Columns(**self.columns)

    def kind(self) -> Format:
        from replay.logs import Format

        return Format(self.form)

    def rows(self) -> Iterator[LogRow]:
        from replay.logs import read

        if not self.paths:
            raise CallError("LOGS: name at least one file")
        return read(self.paths, self.kind(), self.mapping(), self.sort)

    def items(self) -> Iterator[Item]:
        """Of `--items`, else of the data set's side file."""
        from replay import logs

        if self.items_file:
            return logs.items_file(self.items_file)
        return logs.items(self.paths, self.kind()) if self.paths and self.form in FORMATS else iter(())


def of_a_log(formats: Sequence[str]) -> Callable[[Verb], Verb]:
    """The options that say how a log is to be read; the verb gets `log`."""
    file = click.Path(path_type=Path, exists=True, dir_okay=False)

    def made(function: Verb) -> Verb:
        @functools.wraps(function)
        def call(
            logs: tuple[Path, ...], form: str, fields: Sequence[str], constants: Sequence[str], actions: Sequence[str], time: str,
            items_file: Path | None, sort: bool, **rest: Any,
        ) -> Any:  # fmt: skip
            columns = {"fields": pairs("--map", fields), "constants": pairs("--const", constants), "actions": pairs("--action", actions)}
            return function(log=Log(logs, form, columns | {"time": time}, items_file, sort), **rest)

        for option in (
            click.option("--sort", is_flag=True, help="put the rows in time order first (in memory)"),
            click.option("--items", "items_file", type=file, help="catalog: JSON lines of items, loaded before the first event"),
            click.option("--time", default="ms", type=click.Choice(("ms", "s", "us", "iso")), help="unit of the times  [default: ms]"),
            click.option("--action", "actions", multiple=True, metavar="VALUE=ACTION", help="what a value of the action column means"),
            click.option("--const", "constants", multiple=True, metavar="FIELD=VALUE", help="the same value in every row"),
            click.option(
                "--map", "fields", multiple=True, metavar="FIELD=COLUMN", help="which column is which field; also context.NAME, also.ACTION"
            ),
            click.option("--format", "form", required=True, type=click.Choice(formats), help="what kind of log"),
            click.argument("logs", nargs=-1, type=file),
        ):
            call = option(call)
        return call

    return made
