"""The front door: one command, `segue`. A verb parses, loads settings, calls one function, prints.

Results go to stdout (a table, or `--json`), progress and complaints to stderr. Exit 0: done; 1: the answer is no;
2: the call was wrong. Everything heavy is imported inside the command that needs it.
"""
from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from replay.logs import Columns, Format, LogRow
    from streams.core.catalog import Catalog
    from streams.settings import Loaded, Settings

PACKAGES = ("streams", "online_model", "bandit", "replay")
FORMATS = ("jsonl", "csv", "parquet", "kuairand", "open-bandit", "topic")
F = TypeVar("F", bound=Callable[..., Any])


class NoError(click.ClickException):
    """The answer is no."""

    exit_code = 1

    def show(self, file: Any = None) -> None:
        click.echo(f"segue: {self.message}", err=True)


class CallError(NoError):
    """The call was wrong."""

    exit_code = 2


def main() -> None:
    """Entry point of the `segue` command."""
    if intruder := stranger():
        click.echo(f"segue: {intruder}", err=True)
        sys.exit(2)
    segue.main(prog_name="segue")


def stranger() -> str | None:
    """One line that names the package that is not ours, and the way out; None where all four come from one folder."""
    folders = {name: _folder(name) for name in PACKAGES}
    ours = Path(__file__).resolve().parent.parent
    for name, folder in folders.items():
        if folder != ours:
            where = f"comes from {folder}, not from {ours}" if folder else f"is not in {ours}"
            known = {"bandit": "the security linter bandit", "replay": "the library replay-rec"}
            who = f" ({known[name]} installs that name too)" if name in known else ""
            return f"the package `{name}` {where}{who}; uninstall what brought it, or give Segue a virtual environment of its own"
    return None


def _folder(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]).resolve().parent if places else None


class Verbs(click.Group):
    """Turns the errors that are meant for the user into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - sorted out below; whatever is not ours goes on
            if type(error).__module__.partition(".")[0] in PACKAGES:  # our own classes exist to be told to the user
                raise (CallError if isinstance(error, ValueError) else NoError)(str(error)) from error
            if isinstance(error, OSError) and error.filename is not None:
                raise CallError(f"{error.filename}: {error.strerror}") from error
            raise


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="segue", message="%(version)s")
def segue() -> None:
    """A streaming recommender that learns online from every play, skip and collect.

    \b
    Try it:        segue simulate --events 20000 -o events.jsonl --items items.jsonl
    Try your log:  segue replay LOG --format csv --map user_id=uid …

    `segue VERB --help` ends in a line that can be pasted and works.
    """


def verb(example: str) -> Callable[[F], click.Command]:
    """A command whose help ends in a line that can be pasted."""

    def made(function: F) -> click.Command:
        name = function.__name__.rstrip("_").replace("_", "-")
        command: click.Command = segue.command(name=name, epilog=f"\b\nTry:\n  {example}")(function)
        return command

    return made


def with_settings(function: F) -> F:
    """`--config` and `--set`, and `--broker` as the short way to one of them."""
    for option in (
        click.option("--broker", metavar="HOST:PORT", help="the Kafka to use; short for --set topics.bootstrap=…"),
        click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="a setting; `segue config` lists them"),
        click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="settings file  [default: segue.toml, if there]"),
    ):
        function = option(function)
    return function


as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


def load(config: Path | None, assignments: Sequence[str], broker: str | None = None) -> Loaded:
    """The settings that hold for this call."""
    from streams import settings

    flags = [(f"--set {assignment}", assignment) for assignment in assignments]
    if broker:
        flags.append((f"--broker {broker}", f"topics.bootstrap={broker}"))
    return settings.load(config, os.environ, flags)


def emit(value: Any) -> None:
    """JSON on stdout, one document; what is undefined is null."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def pairs(name: str, given: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE options as a dict."""
    out = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CallError(f"{name} {text}: expected KEY=VALUE")
        out[key] = value
    return out


def of_a_log(function: F) -> F:
    """The options that say how a log is to be read."""
    for option in (
        click.option("--sort", is_flag=True, help="put the rows in time order first (in memory)"),
        click.option(
            "--items", "items_file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="catalog: JSON lines of items, loaded before the first event",
        ),
        click.option("--time", default="ms", type=click.Choice(("ms", "s", "us", "iso")), help="unit of the time column  [default: ms]"),
        click.option("--action", "actions", multiple=True, metavar="VALUE=ACTION", help="what a value of the action column means"),
        click.option("--const", "constants", multiple=True, metavar="FIELD=VALUE", help="the same value in every row"),
        click.option("--map", "fields", multiple=True, metavar="FIELD=COLUMN",
                     help="which column is which field; also context.NAME, also.ACTION"),
        click.option("--format", "form", required=True, type=click.Choice(FORMATS), help="what kind of log"),
    ):  # fmt: skip
        function = option(function)
    return function


def columns_of(fields: Sequence[str], constants: Sequence[str], actions: Sequence[str], time: str) -> Columns:
    """The column mapping that the options give."""
    from replay.logs import Columns

    return Columns(fields=pairs("--map", fields), constants=pairs("--const", constants), actions=pairs("--action", actions), time=time)


def catalog_of(logs: Sequence[Path], form: Format, items_file: Path | None) -> Catalog:
    """The items of `--items`, else of the data set's side file."""
    from replay.logs import items
    from replay.logs import items_file as read_items
    from streams.core.catalog import Catalog

    catalog = Catalog()
    for item in read_items(items_file) if items_file else items(logs, form):
        catalog.put(item)
    return catalog


@verb("segue config --set partition.join_window_ms=60000")
@with_settings
@as_json
def config(config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool) -> None:
    """Print every setting, what it is, and where that came from: a settings file as it stands."""
    from streams.settings import toml

    loaded = load(config, assignments, broker)
    if as_json:
        emit({value.key: {"value": value.value, "source": value.source} for value in loaded.values})
    else:
        click.echo(toml(loaded.values), nl=False)


@verb("segue simulate --events 2000 -o events.jsonl && segue validate events.jsonl --format jsonl")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@of_a_log
@click.option("--show", default=10, show_default=True, help="complaints a reason")
@with_settings
@as_json
def validate(
    logs: tuple[Path, ...], form: str, fields: tuple[str, ...], constants: tuple[str, ...], actions: tuple[str, ...], time: str,
    items_file: Path | None, sort: bool, show: int, config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Check a log (and a catalog) line by line, with the core's own verdicts; exit 1 if something is wrong."""
    from replay.logs import Format, read
    from replay.logs import items_file as read_items
    from replay.validate import complaints

    settings = load(config, assignments, broker).settings
    if form == "topic":
        raise CallError("--format topic: a topic's records are judged by the worker; see `segue dead-letters`")
    if items_file:
        for _ in read_items(items_file):
            pass
    columns = columns_of(fields, constants, actions, time)
    counts: dict[str, int] = {}
    rows, told = 0, []
    name = ", ".join(path.name for path in logs)
    for complaint in complaints(ticking(read(logs, Format(form), columns, sort), "rows"), settings.partition):
        rows += 1
        if complaint is not None:
            counts[complaint.reason] = counts.get(complaint.reason, 0) + 1
            if counts[complaint.reason] <= show:
                told.append(f"{name}:{complaint.line}: {complaint.message}")
    if as_json:
        emit({"rows": rows, "good": rows - sum(counts.values()), "bad": counts, "complaints": told})
    else:
        for line in told:
            click.echo(line)
        for reason, n in counts.items():
            if n > show:
                click.echo(f"… and {n - show:,} more: {reason}")
        click.echo(f"{rows:,} records, {rows - sum(counts.values()):,} good")
    if counts:
        sys.exit(1)


@verb("segue simulate --events 5000 -o events.jsonl --items items.jsonl && segue replay events.jsonl --format jsonl --items items.jsonl")
@click.argument("logs", nargs=-1, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@of_a_log
@click.option("--rows", type=click.IntRange(min=1), help="stop after so many rows")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="write index.html and result.json there")
@click.option("--device", default="cpu", show_default=True, help="cpu, or cuda")
@with_settings
@as_json
def replay(
    logs: tuple[Path, ...], form: str, fields: tuple[str, ...], constants: tuple[str, ...], actions: tuple[str, ...], time: str,
    items_file: Path | None, sort: bool, rows: int | None, report: Path | None, device: str,
    config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Run a log through the very code that runs live: predict every exposure, then learn from it.

    Figures: AUC, GAUC, log loss, NE (log loss over the base rate's), COPC (what happened over what was predicted), by task.
    """
    from itertools import islice

    from replay import prequential
    from replay.logs import Format, read

    loaded = load(config, assignments, broker)
    if form == "topic":
        raise CallError("--format topic is not here yet")
    if not logs:
        raise CallError("LOGS: name at least one file")
    kind = Format(form)
    source = read(logs, kind, columns_of(fields, constants, actions, time), sort)
    partition, learner = machines(loaded.settings, catalog_of(logs, kind, items_file), device)
    with progress("rows") as told:
        result = prequential.run(islice(source, rows), partition, learner, progress=told)
    if report:
        from replay.report import write

        page = write(report, result, learner.metrics.arrays()["total.histogram"], loaded.values, ", ".join(path.name for path in logs))
        click.echo(f"report: {page}", err=True)
    if as_json:
        emit(result)
    else:
        from rich.console import Console

        from replay.report import summary

        Console().print(*summary(result), sep="\n")


def machines(settings: Settings, catalog: Catalog, device: str) -> tuple[Any, Any]:
    """One partition and one learner, all in memory."""
    from online_model.trainer import Trainer
    from streams.core.learn import Learner
    from streams.core.partition import Partition
    from streams.core.state import Tables

    return Partition(settings.partition, Tables.over(), catalog), Learner(settings.learner, Trainer(settings.model, device))


@verb("segue simulate --events 20000 --seed 1 -o events.jsonl --items items.jsonl")
@click.option("--events", type=click.IntRange(min=0), default=20_000, show_default=True, help="records in the log")
@click.option("--seed", type=int, default=1, show_default=True, help="of the world, and of the log")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="the log: JSON lines")
@click.option("--items", "items_file", type=click.Path(path_type=Path, dir_okay=False), help="write the catalog there too")
@click.option("--world", "world", multiple=True, metavar="KEY=VALUE", help="of the world: listeners=400, items=400, days=14 …")
@as_json
def simulate(events: int, seed: int, out: Path, items_file: Path | None, world: tuple[str, ...], as_json: bool) -> None:
    """Write a log of listeners with known taste, conformity, curiosity and drift, served by a known policy."""
    import msgspec

    from replay.open_loop import write_items, write_log
    from replay.simulator import WorldSettings

    try:
        settings = msgspec.convert(pairs("--world", world), WorldSettings, strict=False)
    except msgspec.ValidationError as error:
        raise CallError(f"--world: {error}") from None
    told: dict[str, Any] = {"log": str(out), "events": write_log(out, settings, events, seed)}
    if items_file:
        told |= {"catalog": str(items_file), "items": write_items(items_file, settings, seed)}
    if as_json:
        emit(told)
    else:
        click.echo(f"{told['events']:,} records in {out}" + (f", {told['items']:,} items in {items_file}" if items_file else ""))


@verb("segue broker --data run/kafka")
@click.option("--data", default="run/kafka", show_default=True, type=click.Path(path_type=Path, file_okay=False), help="its folder")
@click.option("--port", default=9092, show_default=True, help="0: a free one, remembered in the folder")
def broker(data: Path, port: int) -> None:
    """Run a real Kafka on this machine until Ctrl-C: one node, for trying and testing."""
    import signal

    from streams.broker import EmbeddedBroker

    with EmbeddedBroker(data, port) as running:
        click.echo(running.bootstrap)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


@verb("segue topics --help")
@click.option("--create", is_flag=True, help="make those that are missing")
@with_settings
@as_json
def topics(create: bool, config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool) -> None:
    """Check the broker's topics against the settings; exit 1 if one is not as it must be."""
    from streams import topics as kafka
    from streams.topics import reaching

    settings = load(config, assignments, broker).settings.topics
    with reaching(settings.bootstrap):
        made = kafka.create(settings) if create else []
        wrong = kafka.check(settings)
    if as_json:
        emit({"topics": [topic.name for topic in kafka.wanted(settings)], "made": made, "problems": wrong})
    else:
        for topic in kafka.wanted(settings):
            click.echo(f"{topic.name}  {topic.partitions} partitions" + ("  made" if topic.name in made else ""))
        for line in wrong:
            click.echo(line, err=True)
    if wrong:
        sys.exit(1)


@verb("segue send --help")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@of_a_log
@with_settings
@as_json
def send(
    logs: tuple[Path, ...], form: str, fields: tuple[str, ...], constants: tuple[str, ...], actions: tuple[str, ...], time: str,
    items_file: Path | None, sort: bool, config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Send a log into the broker's events, its catalog before it; what `segue replay` would have read."""
    import asyncio

    from replay.logs import Format, items, read
    from replay.logs import items_file as read_items
    from streams import send as sending
    from streams.topics import reaching

    settings = load(config, assignments, broker).settings.topics
    if form == "topic":
        raise CallError("--format topic: its records are in a broker already")
    kind = Format(form)
    rows = ((row.raw, row.arrival_ms) for row in ticking(read(logs, kind, columns_of(fields, constants, actions, time), sort), "rows"))
    catalog = read_items(items_file) if items_file else items(logs, kind)
    with reaching(settings.bootstrap):
        sent = asyncio.run(sending.send(settings, rows, catalog, source=logs[0].name))
    if as_json:
        emit(sent)
    else:
        click.echo(f"{sent.rows:,} rows and {sent.items:,} items, in {sent.records:,} records of {sent.bytes:,} bytes")


@verb("segue worker --help")
@with_settings
def worker(config: Path | None, assignments: tuple[str, ...], broker: str | None) -> None:
    """Take in events until Ctrl-C: keep users' states, send examples on."""
    from streams import settings as tree
    from streams.topics import reaching
    from streams.worker import run_worker

    settings = load(config, assignments, broker).settings
    with reaching(settings.topics.bootstrap):
        run_worker(tree.worker(settings))


@verb("segue learner --help")
@with_settings
def learner(config: Path | None, assignments: tuple[str, ...], broker: str | None) -> None:
    """Learn from examples until Ctrl-C: publish the model, save checkpoints."""
    from streams import settings as tree
    from streams.learner_process import run_learner
    from streams.topics import reaching

    settings = load(config, assignments, broker).settings
    with reaching(settings.topics.bootstrap):
        run_learner(tree.learner(settings))


@verb("segue dead-letters --help")
@with_settings
@as_json
def dead_letters(config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool) -> None:
    """Print every record that was not used: why, and where it stood."""
    from streams.dead_letters import read
    from streams.topics import reaching

    settings = load(config, assignments, broker).settings.topics
    with reaching(settings.bootstrap):
        letters = list(read(settings))
    if as_json:
        emit(letters)
    else:
        for letter in letters:
            click.echo(f"{letter.topic}[{letter.partition}]:{letter.offset}/{letter.index}: {letter.reason}: {letter.detail}")


@verb("segue checkpoint")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="where they lie  [default: process.checkpoint_dir]")
@with_settings
@as_json
def checkpoint(root: Path | None, config: Path | None, assignments: tuple[str, ...], broker: str | None, as_json: bool) -> None:
    """List checkpoints, oldest first, each checked against its checksums; exit 1 if one can't be trusted."""
    from online_model import checkpoint as saved

    folder = root or Path(load(config, assignments, broker).settings.process.checkpoint_dir)
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
        for name, state in told.items():
            click.echo(f"{name}  {state}")
        if not told:
            click.echo(f"no checkpoint in {folder}", err=True)
    if any(state != "whole" for state in told.values()):
        sys.exit(1)


class progress:  # noqa: N801 - used as a function
    """A line on stderr while work is long: rows, rows a second, event time."""

    def __init__(self, unit: str) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.completed:,} " + unit), TextColumn("{task.fields[pace]}"), TimeElapsedColumn())
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", total=None, pace="")

    def __enter__(self) -> Callable[[int, int], None]:
        self._bar.start()
        return self._told

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def _told(self, rows: int, watermark_ms: int) -> None:
        import datetime

        elapsed = self._bar.tasks[0].elapsed or 1.0
        moment = datetime.datetime.fromtimestamp(max(0, watermark_ms) / 1000, datetime.UTC)
        self._bar.update(self._task, completed=rows, pace=f"{rows / elapsed:,.0f}/s  {moment:%Y-%m-%d %H:%M} UTC")


def ticking(rows: Iterable[LogRow], unit: str) -> Iterator[LogRow]:
    """The rows, with progress."""
    with progress(unit) as told:
        for n, row in enumerate(rows, 1):
            if n % 1000 == 0:
                told(n, row.arrival_ms or 0)
            yield row
