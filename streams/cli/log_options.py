"""The options that say which log is read, and how."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from streams.cli.frame import CallError, Verb, bundled, pairs

if TYPE_CHECKING:
    from replay.log_rows import Columns, LogRow
    from replay.logs import Format
    from replay.negatives import Negatives
    from replay.prequential import Numbered, Omissions
    from streams.core.join.items import Item

FORMATS = (
    "jsonl", "csv", "parquet", "kuairand", "open-bandit", "amazon-cross-domain", "30music", "lastfm-1k", "listenbrainz", "spotify-history",
    "movielens", "yambda", "mind", "retailrocket", "recbole-inter", "trivago", "taobao", "piki",
)  # fmt: skip
YEAR_MS = 365 * 86_400_000  # ahead of now: later times are of another unit
MOST_BESIDE = 100  # items drawn beside one act: a slate holds 200


class Log(NamedTuple):
    """The options of a log: its files, and how they are read."""

    paths: tuple[Path, ...]
    form: str
    fields: dict[str, str] = {}
    labels: dict[str, str] = {}
    constants: dict[str, str] = {}
    actions: dict[str, str] = {}
    time: str | None = None  # None: found in the first rows
    zone: str = ""
    epoch: str | None = None
    names: str | None = None
    delimiter: str = ""
    quotes: bool = True
    items_file: Path | None = None
    items_columns: dict[str, str] = {}
    sort: bool = False

    @property
    def name(self) -> str:
        """The names of its files."""
        return ", ".join(path.name for path in self.paths)

    def kind(self) -> Format:
        """Its format; only for logs of files."""
        from replay.logs import Format

        return Format(self.form)

    def arrivals(
        self, earliest_ts: int, omissions: Omissions | None = None, drawing: Negatives | None = None, most: int | None = None
    ) -> Iterator[Numbered]:
        """Its rows as records, decoded; events before `earliest_ts` are rejected. Raises CallError where no file was named."""
        from replay.prequential import of_file

        return of_file(self.rows(earliest_ts, drawing, most), earliest_ts, omissions)

    def rows(self, earliest_ts: int, drawing: Negatives | None = None, most: int | None = None) -> Iterator[LogRow]:
        """Its rows (`most`: the first ones), read anew at each call, with what is drawn beside them.

        Raises CallError where no file was named.
        """
        from replay.logs import read
        from replay.meter import meter

        rows = read(self.paths, self.kind(), self.columns(), self.sort, earliest_ts)
        if most is not None:
            rows = meter().first(rows, most)
        return drawing.rows(rows) if drawing else rows

    @contextmanager
    def metered(self) -> Iterator[Callable[[], float | None]]:
        """What says which share of its files has been read, in the pass at hand; None where nobody can say."""
        from replay.log_files import files, sizes
        from replay.logs import names
        from replay.meter import metered

        if not self.paths or self.form not in FORMATS:
            yield lambda: None
            return
        with metered(sizes(files(self.paths, names(self.kind())))) as meter:
            yield meter.share

    def columns(self) -> Columns:
        """How its columns become fields; the form of its times is found where no option says it."""
        from replay.log_rows import Columns
        from replay.log_times import with_form
        from streams.clock import now_ms

        if not self.paths:
            raise CallError("LOGS: name at least one file")
        if self.epoch is not None and self.time is None:
            raise CallError("--epoch: name the unit of the times as well, as in --time s")
        names = tuple(name.strip() for name in self.names.split(",")) if self.names else ()
        try:
            columns = Columns(
                fields=self.fields, constants=self.constants, labels=self.labels, actions=self.actions, time=self.time or "ms",
                zone=self.zone, epoch_ms=_epoch_ms(self.epoch), names=names, delimiter=self.delimiter, quotes=self.quotes,
            )  # fmt: skip
        except ValueError as error:
            raise CallError(f"--time, --zone: {error}") from None
        return with_form(self.paths, self.kind(), columns, now_ms() + YEAR_MS) if self.time is None else columns

    def drawing(self, negatives: int | None, earliest_ts: int) -> Negatives | None:
        """What is drawn beside the acts of a log without exposures, None for another.

        Raises CallError where its exposures exclude `negatives`.
        """
        from replay.adapters.sampled import BESIDE
        from replay.negatives import Negatives, has_exposures

        if has_exposures(self.rows(earliest_ts)):
            if negatives:
                raise CallError(f"--negatives {negatives}: {self.name} has exposures, which say themselves what was not taken")
            return None
        return Negatives(BESIDE if negatives is None else negatives, self.items(), earliest_ts)

    def items(self) -> Iterator[Item]:
        """The catalog: of `--items`, else of the data set's side file."""
        from replay import logs
        from replay.adapters import catalog
        from replay.log_files import files

        if self.items_file:
            return catalog.items(self.items_file, self.items_columns)
        if self.items_columns:
            raise CallError("--items-map: it needs --items")
        if not self.paths or self.form not in FORMATS:
            return iter(())
        return logs.items(files(self.paths, logs.names(self.kind())), self.kind())


def with_negatives(default: str) -> Callable[[Verb], Verb]:
    """Add the option that says how many items are drawn; the verb gets `negatives`, None where nobody said it."""
    text = f"items drawn beside each act of a log without exposures: there then, not taken  [default: {default}]"
    return click.option("--negatives", type=click.IntRange(0, MOST_BESIDE), help=text)


def with_log(formats: Sequence[str], required: bool = True) -> Callable[[Verb], Verb]:
    """Add the options that say how a log is read; the verb gets `log`. Not `required`: a verb that finds the format out."""
    file = click.Path(path_type=Path, exists=True, dir_okay=False)

    def assignments(option: str, name: str, metavar: str, text: str) -> Callable[[Verb], Verb]:
        return click.option(option, name, multiple=True, callback=pairs, metavar=metavar, help=text)

    def decorate(function: Verb) -> Verb:
        call = bundled(Log, "log")(function)
        for option in (
            click.option("--sort", is_flag=True, help="sort the rows by time first (on disk, where they are many)"),
            assignments("--items-map", "items_columns", "FIELD=COLUMN", "with --items: column of an item's field; also features.NAME"),
            click.option(
                "--items", "items_file", type=file, help="catalog: JSON lines of items, CSV or Parquet, loaded before the first event"
            ),
            click.option("--quotes/--no-quotes", default=True, help="quotes around a cell are not part of it  [default: quotes]"),
            click.option(
                "--delimiter", default="", metavar="TEXT", help="between cells: ';', tab, '::'  [default: found in the first line]"
            ),
            click.option("--columns", "names", metavar="NAME,…", help="of a table without a header"),
            click.option("--epoch", metavar="TIME", help="moment of the log's time 0: 2020-01-01T00:00Z  [default: 1970]"),
            click.option("--zone", default="", metavar="ZONE", help="of times that name none: UTC, Europe/Berlin, +02:00"),
            click.option(
                "--time", metavar="FORM", help="of the times: s, ms, us, ns, iso, or a pattern: '%d.%m.%Y %H:%M'  [default: found]"
            ),
            assignments("--action", "actions", "VALUE=ACTION", "meaning of a value of the action column; VALUE=: leave its rows out"),
            assignments("--const", "constants", "FIELD=VALUE", "the same value in every row: action=play, full=true"),
            assignments("--label", "labels", "ACTION=EXPR", "an action of the rows for which this holds: collect='rating >= 8'"),
            assignments(
                "--map",
                "fields",
                "FIELD=COLUMN",
                "column of a field, path a.b of JSON, or SQL: 'ratio * length'; also context.NAME, also.ACTION",
            ),
            click.option("--format", "form", required=required, type=click.Choice(formats), help="format of the log"),
            click.argument("paths", metavar="[LOGS]...", nargs=-1, type=click.Path(path_type=Path)),
        ):
            call = option(call)
        return call

    return decorate


def _epoch_ms(epoch: str | None) -> int:
    if epoch is None:
        return 0
    from replay.columns.times import reader

    found = reader("iso")(epoch)
    if not isinstance(found, int):
        raise CallError(f"--epoch {epoch}: expected a time with its zone, as in 2020-01-01T00:00Z")
    return found
