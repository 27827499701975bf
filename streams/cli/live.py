"""Verbs that need a broker: they run one, run the processes on it, write to its topics, or read them."""
from __future__ import annotations

import os
import subprocess  # noqa: S404 - `segue broker -- COMMAND`
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from streams.cli.console import emit_line, progress, show, utc
from streams.cli.frame import CallError, NoError, as_json, at_a_broker, bundled, verb
from streams.cli.log_options import FORMATS, Log, with_log, with_negatives

if TYPE_CHECKING:
    from streams.settings import Loaded

CROWD_PACE = 200.0  # of `segue run`: listening to a slate takes an hour / 200 = 18 s at most, and its join window is 20 s
WINDOWS = {"5m": 300_000, "1h": 3_600_000, "1d": 86_400_000}  # those of online_model.metrics, which is slow to import
PAGE_SHARE = 0.5  # of `segue run`: a minute then closes some 50 pages a strategy, and as many slates


@verb("segue broker -- segue topics --create")
@click.option("--create", is_flag=True, help="create those that are missing")
@at_a_broker
@as_json
def topics(create: bool, loaded: Loaded, as_json: bool) -> None:
    """Show Segue's topics and whether the broker has them with the right settings; exit 1 if not."""
    from streams.kafka_io import topics as kafka_topics
    from streams.kafka_io.topics import PATIENCE

    settings = loaded.settings.topics
    created = kafka_topics.create(settings, PATIENCE) if create else []
    problems = kafka_topics.check(settings, PATIENCE)
    wanted = kafka_topics.wanted(settings)
    lines = [f"{t.name}  {t.partitions} partition{'s' * (t.partitions != 1)}{'  made' * (t.name in created)}" for t in wanted]
    lines += problems or [f"all as they must be at {settings.bootstrap}"]
    show({"topics": wanted, "made": created, "problems": problems}, lines, as_json)
    if problems:
        sys.exit(1)


@verb("segue broker -- segue topics --create")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--dir", "folder", default="run/kafka", show_default=True, type=click.Path(path_type=Path, file_okay=False), help="its data")
@click.option("--port", default=9092, show_default=True, type=click.IntRange(0, 65_535), help="0: a free one, kept for this folder")
def broker(command: tuple[str, ...], folder: Path, port: int) -> None:
    """Run a real Kafka on this machine until Ctrl-C, or as long as COMMAND (behind `--`) runs.

    COMMAND finds it: SEGUE_TOPICS__BOOTSTRAP is set. No Java, Docker or root is needed; the JVM comes from pip.
    """
    import signal

    from streams.kafka_io.broker import EmbeddedBroker

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with EmbeddedBroker(folder, port) as kafka:
        click.echo(f"Kafka at {kafka.bootstrap}, data in {folder}", err=True)
        if command:
            environment = os.environ | {"SEGUE_TOPICS__BOOTSTRAP": kafka.bootstrap}
            sys.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603 - the user's own command
        try:
            while True:
                time.sleep(0.25)  # in turns: a signal that comes just before a wait begins is seen after it
        except KeyboardInterrupt:
            pass


@verb(
    "segue simulate --events 2000 -o events.jsonl --items items.jsonl && segue broker -- sh -c "
    "'segue topics --create && segue send events.jsonl --format jsonl --items items.jsonl'"
)
@with_log(FORMATS)
@with_negatives("none")
@at_a_broker
@as_json
def send(log: Log, negatives: int | None, loaded: Loaded, as_json: bool) -> None:
    """Send a log (and its catalog) into `events`: the same bytes that `segue replay` would read.

    Nothing is sent of a log that the partitions would reject as late. Where a worker runs, the command waits until it has taken in
    what was sent, and reports what became of the rows. Of a log without exposures, --negatives 4 sends the bytes that `segue replay` reads:
    exposures that nobody made, each with the strategy `drawn`.
    """
    import asyncio

    from streams.kafka_io.topics import PATIENCE, require
    from streams.send_report import outcome, send_log

    s = loaded.settings
    require(s.topics, {"events": ("WRITE",), "catalog": ("WRITE",)}, PATIENCE)
    drawing = None if negatives is None else log.drawing(negatives, s.events.earliest_ts)
    if drawing:
        click.echo(f"segue: {drawing.summary()}", err=True)
    rows = lambda: ((row.raw, row.arrival_ms) for row in log.rows(s.events.earliest_ts, drawing) if not row.omitted)  # noqa: E731
    with log.metered() as share, progress("rows", share) as update:
        sent = asyncio.run(send_log(s.topics, s.partition, rows, log.items(), log.name, lambda n: update(n, -1)))
    with progress("Kafka records wait for the workers") as update:
        report = asyncio.run(outcome(s.topics, sent, lambda n: update(n, -1)))
    show(report, report.lines(), as_json)


class RunOptions(NamedTuple):
    """The options of `segue run`."""

    seconds: float | None
    events_per_s: float
    pages: float
    seed: int
    port: int
    folder: Path | None


@verb("segue run --seconds 20")
@click.option("--seconds", type=click.FloatRange(min=1), help="of listening, then close and end  [default: go on until Ctrl-C]")
@click.option("--events-per-s", type=click.FloatRange(min=1), default=200.0, show_default=True, help="of the listeners")
@click.option("--pages", type=click.FloatRange(0, 1), default=PAGE_SHARE, show_default=True, help="share of visits to a page, not a slate")
@click.option("--seed", type=int, default=1, show_default=True, help="of their world, and of who comes when")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="of the service  [default: a free one]")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="for all its files, kept  [default: run/live-…, removed]")
@bundled(RunOptions)
@at_a_broker
@as_json
def run(options: RunOptions, loaded: Loaded, as_json: bool) -> None:
    """Start everything on this machine and show it live: a real Kafka (or yours), worker, learner, simulated listeners.

    The panel is on stderr; where that is no terminal, a line every few seconds. The summary is on stdout. A run has
    topics of its own, one partition and a join window of 20 s, unless these are set.
    """
    from replay.simulator.crowd import Crowd
    from replay.simulator.world import World, WorldSettings
    from streams.clock import now_ms
    from streams.demo import run as demo
    from streams.demo.listeners import Surface
    from streams.demo.summary import lines

    start_ms, folder = now_ms(), options.folder
    stamp = f"{utc(start_ms, '%Y%m%d-%H%M%S')}-{start_ms % 1000:03d}"  # two runs may begin in one second
    settings, embedded = demo.settings_for(loaded, stamp, options.port)
    if folder is not None and folder.exists():
        raise CallError(f"--dir {folder}: is there already; a run begins anew")
    crowd = Crowd(World(WorldSettings(start_ms=start_ms), options.seed), options.seed, pace=CROWD_PACE)
    plan = demo.Plan(
        settings=settings, embedded=embedded, folder=folder or Path("run") / f"live-{stamp}", keep=folder is not None,
        seconds=options.seconds, events_per_s=options.events_per_s, page_share=options.pages, seed=options.seed,
    )  # fmt: skip
    surfaces = Surface(crowd.ask, crowd.react), Surface(crowd.ask_page, crowd.react_page)
    summary = demo.run(plan, demo.Audience(crowd.world.catalog(), *surfaces, crowd.variety), lambda text: click.echo(text, err=True))
    show(summary, lines(summary), as_json)
    if options.seconds is not None and not summary.complete:
        raise NoError(f"stopped after {summary.seconds:.0f} of {options.seconds:.0f} s")
    if summary.lag:
        raise NoError(f"{summary.lag:,} records were not taken in or not learned at the end")


@verb("segue broker -- sh -c 'segue topics --create && timeout 5 segue worker; true'")
@at_a_broker
def worker(loaded: Loaded) -> None:
    """Take events in, keep users' state, write examples, serve slates and pages over HTTP; until Ctrl-C."""
    from streams import settings
    from streams.http.service import Service
    from streams.status import WorkerReporter
    from streams.worker.process import run_worker

    s = loaded.settings
    service = Service(settings.serving(s))
    click.echo(f"answers at {service.url}, documentation at {service.url}/docs", err=True)
    run_worker(settings.worker(s), [service, WorkerReporter(s.status, service.model)])


@verb("segue broker -- sh -c 'segue topics --create && timeout 5 segue learner; true'")
@at_a_broker
def learner(loaded: Loaded) -> None:
    """Learn from examples, publish every version of the model, keep checkpoints; until Ctrl-C."""
    from streams import settings
    from streams.http.exporter import Exporter
    from streams.learner.process import run_learner
    from streams.status import LearnerReporter

    s = loaded.settings
    up = lambda process: process.announce(lambda line: click.echo(line, err=True))  # noqa: E731 - a service
    run_learner(settings.learner(s), [up, Exporter(s.exporter), LearnerReporter(s.status)])


@verb("segue broker -- sh -c 'segue topics --create && segue metrics --seconds 1'")
@click.option("--seconds", type=click.FloatRange(min=0), help="stop after so long  [default: go on]")
@click.option("--new", is_flag=True, help="only what comes from now on")
@click.option("--window", "width", type=click.Choice(list(WINDOWS)), help="only windows of this width  [default: all]")
@at_a_broker
@as_json
def metrics(seconds: float | None, new: bool, width: str | None, loaded: Loaded, as_json: bool) -> None:
    """Print what Segue measures as it comes: closed windows of event time, by task and strategy; status of worker and learner.

    With --json a line a record, whole.
    """
    from streams.kafka_io.follow import metrics as follow

    for record in follow(loaded.settings.topics, not new, seconds, _tell_skipped):
        if not _has_width(record, width):
            continue
        if as_json:
            emit_line(record)
        else:
            click.echo("\n".join(_metric_lines(record)))


def _has_width(record: Any, width: str | None) -> bool:
    """Whether it is a window of tasks of this width, or no such window."""
    windowed = isinstance(record, dict) and "width_ms" in record
    return width is None or not windowed or record["width_ms"] == WINDOWS[width]


def _tell_skipped(line: str) -> None:
    """Of a record in a topic of ours that is none of ours; what is printed is without it."""
    click.echo(f"segue: {line}; skipped", err=True)


def _metric_lines(record: Any) -> list[str]:
    """A record of the topic `metrics` for people; of a window of tasks a line a task. What only looks like one is printed as it is."""
    try:
        return list(_known_lines(record))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError):
        return [str(record)]


def _known_lines(record: Any) -> Iterator[str]:
    match record:
        case {"tasks": tasks, "start_ms": start_ms, "width_ms": width_ms}:
            yield from (f"{utc(start_ms)} +{width_ms // 60_000} min  {_task_line(task, m)}" for task, m in tasks.items() if m["n"])
        case {"kind": "worker" | "learner"}:
            yield _status_line(record)
        case {"kind": "strategy"}:
            yield _strategy_line(record)
        case _:
            yield str(record)


def _task_line(task: str, m: dict[str, Any]) -> str:
    figures = "  ".join(f"{name} {m[name]:.4f}" if m[name] is not None else f"{name} –" for name in ("auc", "gauc", "ne", "copc"))
    return f"{task:10} {figures}  n {m['n']:,.0f}"


def _strategy_line(record: dict[str, Any]) -> str:
    """The value of a strategy in an hour."""
    width, arm = (record["end_ms"] - record["start_ms"]) // 60_000, f"{record['surface']} {record['strategy']}"
    values = (
        f"{name} {record[name]:.4f}" + (f" ± {error:.4f}" if (error := record[f"{name}_error"]) is not None else "")
        for name in ("experience", "revenue")
    )
    rounds = f"chosen {record['chosen']:,} of {record['n']:,}  ESS {record['ess']:,.0f}"
    return f"{utc(record['start_ms'])} +{width} min  {arm:20} {'  '.join(values)}  {rounds}"


def _status_line(record: dict[str, Any]) -> str:
    """The status of a worker or the learner."""
    kind, learns = record["kind"], record["kind"] == "learner"
    version = record["version" if learns else "model_version"]
    lags = [record["lag"]] if learns else [partition["lag"] for partition in record["partitions"].values()]
    lag = "unknown" if min(lags, default=0) < 0 else f"{sum(lags):,}"
    counts = "  ".join(f"{name} {n:,}" for name, n in sorted(record["counted"].items()))
    at = utc(record["at_ms"], "%Y-%m-%d %H:%M:%S")
    return f"{at} {kind} {record['slot']}  lag {lag}  version {'–' if version is None else version}  {counts}"


@verb("segue broker -- sh -c 'segue topics --create && segue dead-letters'")
@click.option("--reason", help="only those rejected for this reason")
@click.option("--raw", is_flag=True, help="print nothing but the original records (64 KiB of each at most)")
@at_a_broker
@as_json
def dead_letters(reason: str | None, raw: bool, loaded: Loaded, as_json: bool) -> None:
    """Print every record that was not used, with its place, reason and content. With --json a line a record."""
    from streams.kafka_io.dead_letters import read
    from streams.kafka_io.topics import PATIENCE

    for letter in read(loaded.settings.topics, _tell_skipped, PATIENCE):
        if reason and letter.reason != reason:
            continue
        if as_json:
            emit_line(letter)
        elif raw:
            sys.stdout.buffer.write(letter.original + b"\n")
        else:
            place = f"{letter.topic}-{letter.partition}:{letter.offset}[{letter.index}]"
            click.echo(f"{place}  {letter.reason}  {letter.detail}  {letter.original[:80].decode('utf-8', 'replace')!r}")
