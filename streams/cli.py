"""The front door: one command, `segue`. A verb parses, loads settings, calls one function, prints.

Results go to stdout (a table, or `--json`), progress and complaints to stderr. Exit 0: done; 1: the answer is no;
2: the call was wrong. Everything heavy is imported inside the command that needs it: `segue --help` loads neither
torch nor Faust.
"""
from __future__ import annotations

import functools
import importlib.util
import os
import subprocess  # noqa: S404 - `segue broker -- COMMAND`
import sys
from collections.abc import Callable, Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

if TYPE_CHECKING:
    from replay.evidence import Finding
    from replay.judge import Stop
    from replay.logs import Columns, Format, LogRow
    from streams.asking import Place
    from streams.core.explain import Explained
    from streams.core.items import Item
    from streams.core.pages import Page
    from streams.core.recommend import Answer
    from streams.settings import Loaded

PACKAGES = ("streams", "online_model", "bandit", "replay")
FORMATS = ("jsonl", "csv", "parquet", "kuairand", "open-bandit", "amazon-cross-domain", "30music")
REWARDS = ("full_play", "collect", "share", "skip", "dislike", "play", "experience", "revenue")  # of replay/rounds.py, strategy_rounds.py
Q_HATS = ("cross-fitted", "out-of-time", "ranker")  # of replay/evaluate.py
LEVELS = ("items", "strategies")  # of it too
PROOFS = ("debias", "cross-domain", "id-cross", "late-labels", "pages")  # of replay/prove.py, which loads torch
CROWD_PACE = 200.0  # of `segue run`: a list takes an hour / 200 = 18 s at most, and its join window is 20 s
PAGE_SHARE = 0.5  # of `segue run`: a minute then closes some 50 pages a strategy, and as many visits show what lists come to
KNOWN_RIVALS = {"bandit": "the security linter bandit", "replay": "the library replay-rec"}

Verb = Callable[..., Any]
R = TypeVar("R")


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
    ours = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        folder = Path(places[0]).resolve().parent if places else None
        if folder != ours:
            where = f"comes from {folder}, not from {ours}" if folder else f"is not in {ours}"
            who = f" ({KNOWN_RIVALS[name]} installs that name too)" if name in KNOWN_RIVALS else ""
            return f"the package `{name}` {where}{who}; uninstall what brought it, or give Segue a virtual environment of its own"
    return None


class Verbs(click.Group):
    """Turns the errors that are meant for the user into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # noqa: BLE001 - sorted out here; whatever isn't for the user goes on
            origin = type(error).__module__.partition(".")[0]
            if origin in PACKAGES:  # a class of ours exists to be told
                raise (CallError if isinstance(error, ValueError) else NoError)(str(error)) from error
            if isinstance(error, OSError) and error.filename is not None:
                raise CallError(f"{error.filename}: {error.strerror}") from error
            raise


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="segue", message="%(version)s")
def segue() -> None:
    """A streaming recommender that learns online from every play, skip and collect.

    \b
    Try it on a log:     segue replay LOG --format csv --map user_id=uid --map ts=time
    Serve from Kafka:    segue worker, segue learner

    The help of each verb ends in a line that can be pasted and works.
    """


def verb(example: str) -> Callable[[Verb], click.Command]:
    """A command whose help ends in a line that can be pasted."""

    def made(function: Verb) -> click.Command:
        name = function.__name__.rstrip("_").replace("_", "-")
        return segue.command(name=name, epilog=f"\b\nTry:\n  {example}")(function)

    return made


def with_settings(function: Verb) -> Verb:
    """`--config`, `--set` and `--broker` (short for one of them); the verb gets `loaded`."""

    @functools.wraps(function)
    def call(config: Path | None, assignments: tuple[str, ...], broker_at: str | None, **rest: Any) -> Any:
        from streams import settings

        flags = [(f"--set {assignment}", assignment) for assignment in assignments]
        if broker_at:
            flags.append((f"--broker {broker_at}", f"topics.bootstrap={broker_at}"))
        return function(loaded=settings.load(config, os.environ, flags), **rest)

    for option in (
        click.option("--broker", "broker_at", metavar="HOST:PORT", help="the Kafka to use; short for --set topics.bootstrap=…"),
        click.option("--set", "assignments", metavar="KEY=VALUE", multiple=True, help="a setting; `segue config` lists them"),
        click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="settings file  [default: segue.toml, if there]"),
    ):
        call = option(call)
    return call


def at_a_broker(function: Verb) -> Verb:
    """A broker that can't be reached is one line, not a stack."""

    @functools.wraps(function)
    def call(loaded: Loaded, **rest: Any) -> Any:
        from streams.topics import reaching

        with reaching(loaded.settings.topics.bootstrap):
            return function(loaded=loaded, **rest)

    return call


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
        from replay.logs import Columns

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


def pairs(name: str, given: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE options as a dict."""
    out = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise CallError(f"{name} {text}: expected KEY=VALUE")
        out[key] = value
    return out


as_json = click.option("--json", "as_json", is_flag=True, help="print JSON")


@verb("segue config --set partition.join_window_ms=60000")
@with_settings
@as_json
def config(loaded: Loaded, as_json: bool) -> None:
    """Print every setting, what it is, and where that came from: a settings file as it stands."""
    from streams.console import emit
    from streams.settings import toml

    if as_json:
        emit({value.key: {"value": value.value, "source": value.source} for value in loaded.values})
    else:
        click.echo(toml(loaded.values), nl=False)


@verb("segue simulate --events 2000 -o events.jsonl && segue validate events.jsonl --format jsonl")
@of_a_log(FORMATS)
@click.option("--show", default=10, show_default=True, help="complaints a reason")
@with_settings
@as_json
def validate(log: Log, show: int, loaded: Loaded, as_json: bool) -> None:
    """Check a log (and a catalog) line by line, with the core's own verdicts; exit 1 if something is wrong.

    Says too what `segue evaluate` can answer from it, and what not.
    """
    from replay import strategy_rounds
    from replay.evaluate import prospects
    from replay.rounds import Reader, watched
    from replay.validate import complaints
    from streams.console import emit, progress

    strategies = strategy_rounds.Reader(loaded.settings.partition)
    reader = Reader(loaded.settings.partition, {item.item_id: item for item in log.items()})
    counts: dict[str, int] = {}
    records, told = 0, []
    with progress("records") as tell:
        for complaint in complaints(watched(log.rows(), reader), loaded.settings.partition, strategies):
            records += 1
            if records % 1000 == 0:
                tell(records, -1)
            if complaint is not None:
                counts[complaint.reason] = counts.get(complaint.reason, 0) + 1
                if counts[complaint.reason] <= show:
                    told.append(f"{log.name}:{complaint.line}: {complaint.message}")
    prospect = [*prospects(reader.rounds()), *strategy_rounds.prospects(strategies)]
    if as_json:
        emit({"rows": records, "good": records - sum(counts.values()), "bad": counts, "complaints": told, "evaluate": prospect})
    else:
        more = [f"… and {n - show:,} more: {reason}" for reason, n in counts.items() if n > show]
        click.echo("\n".join([*told, *more, f"{records:,} records, {records - sum(counts.values()):,} good"]))
        click.echo("\n".join(f"evaluate: {line}" for line in prospect))
    if counts:
        sys.exit(1)


@verb("segue simulate --events 2000 -o events.jsonl --items items.jsonl && segue replay events.jsonl --format jsonl --items items.jsonl")
@of_a_log((*FORMATS, "topic"))
@click.option("--rows", type=click.IntRange(min=1), help="stop after so many rows")
@click.option("--partition", default=0, show_default=True, help="of `events`, with --format topic")
@click.option("--offsets", metavar="FIRST:END", help="with --format topic: these, END not in it  [default: all there is]")
@click.option("--since", metavar="TIME", help="judge what was shown from then on apart too: 2022-04-28T00:00+08:00")
@click.option("--ablate", is_flag=True, help="what each block is worth: beside all on, a model with each one switched off")
@click.option("--freshness", is_flag=True, help="what fresh parameters are worth: published every 0 s, 1 s, 1 min, 30 min, 5 h")
@click.option("--gamma", metavar="0,0.5,1", help="what is gained or lost by taking these shares of popularity's part away")
@click.option("--judge", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="with --gamma: a log to predict, not to learn")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="write index.html and result.json there")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto")
@with_settings
@as_json
def replay(
    log: Log, rows: int | None, partition: int, offsets: str | None, since: str | None, ablate: bool, freshness: bool, gamma: str | None,
    judge: Path | None, report: Path | None, device: str, loaded: Loaded, as_json: bool,
) -> None:  # fmt: skip
    """Run a log through the very code that runs live: predict every exposure, then learn from it.

    Figures by task: AUC, GAUC, log loss, NE (log loss over the base rate's), COPC (what happened over what was predicted).
    Those of --ablate, --freshness and --gamma are of the same one pass; what they differ by has an interval (bootstrap of users).
    """
    from contextlib import nullcontext
    from itertools import islice

    from msgspec import to_builtins

    from online_model import devices
    from online_model.trainer import Trainer
    from replay import prequential
    from streams.console import emit, progress
    from streams.core.catalog import Catalog
    from streams.core.choosing import Choosing
    from streams.core.learn import Learner
    from streams.core.partition import Partition
    from streams.core.state import Tables
    from streams.core.surfaces import arms
    from streams.topics import reaching

    settings, live = loaded.settings, log.form == "topic"
    devices.use_threads(settings.process.threads)
    catalog = Catalog()
    for item in log.items():
        catalog.put(item)
    machine = Partition(settings.partition, Tables.over(), catalog, partition)
    chosen, gammas = devices.chosen(device), _gammas(gamma)
    if judge and (not gammas or live):
        raise CallError("--judge: it goes with --gamma, and with logs of files")

    def arrivals() -> Iterator[prequential.Numbered]:
        if not live:
            return islice(prequential.of_file(log.rows()), rows)
        from streams.follow import events

        return islice(events(settings.topics, partition, *_range(offsets)), rows)

    reached = reaching(settings.topics.bootstrap) if live else nullcontext()
    found: list[Finding] = []
    with reached, progress("rows") as told:
        if ablate or freshness or gammas:
            from replay.evidence import SPANS_MS, Evidence, Question, tail_ms
            from replay.judge import Judge, Tail, stopping

            question = Question(ablate=ablate, spans_ms=SPANS_MS * freshness, gammas=gammas, frozen_from_ms=tail_ms(arrivals()))
            evidence = Evidence(question, settings.model, settings.learner, chosen)
            learner = evidence.learner
            second = prequential.of_file(log._replace(paths=(judge,)).rows()) if judge else iter(())
            stops: list[Stop] = [Judge(second, machine, evidence.ask, evidence.uniform)]
            if ablate or gammas:
                stops.append(Tail(arrivals, machine, evidence.ask_tail, question.frozen_from_ms))
            result = prequential.run(
                arrivals(), machine, learner, closing=not live, since_ms=_moment(since), progress=told, batches=stopping(stops),
                also=evidence.also,
            )  # fmt: skip
            found = evidence.findings(result)
        else:
            choosing = Choosing(arms(settings.pages, settings.recommend), settings.bandit)
            learner = Learner(settings.learner, Trainer(settings.model, chosen), choosing=choosing)
            result = prequential.run(arrivals(), machine, learner, closing=not live, since_ms=_moment(since), progress=told)
    if report:
        from replay.findings import sections
        from replay.report import write

        name = f"{settings.topics.prefix}.events-{partition}" if live else log.name
        histogram = learner.metrics.arrays()["total.histogram"]
        page = write(report, result, histogram, loaded.values, name, list(sections(found)), found)
        click.echo(f"report: {page}", err=True)
    if as_json:
        emit({**to_builtins(result), "evidence": to_builtins(found)} if found else result)
    else:
        from rich.console import Console

        from replay.findings import tables
        from replay.report import summary

        Console().print(*summary(result), *tables(found), sep="\n")


def _gammas(given: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(gamma) for gamma in given.split(",")) if given else ()
    except ValueError:
        raise CallError(f"--gamma {given}: expected numbers with commas, as in 0,0.5,1") from None


def _moment(since: str | None) -> int | None:
    if since is None:
        return None
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(since)
    except ValueError as error:
        raise CallError(f"--since {since}: {error}") from None
    if moment.tzinfo is None:
        raise CallError(f"--since {since}: say of which zone, as in 2022-04-28T00:00+08:00 or 2022-04-27T16:00Z")
    return int(moment.timestamp() * 1000)


def _range(offsets: str | None) -> tuple[int | None, int | None]:
    first, colon, end = (offsets or ":").partition(":")
    try:
        if colon:
            return int(first) if first else None, int(end) if end else None
    except ValueError:
        pass
    raise CallError(f"--offsets {offsets}: expected FIRST:END, as in 0:1000 or 500:")


@verb(
    "segue simulate --events 2000 --world items=100 -o events.jsonl --items items.jsonl && "
    "segue evaluate events.jsonl --format jsonl --items items.jsonl --policy uniform"
)
@of_a_log(FORMATS)
@click.option("--policy", required=True, metavar="P", help="one of those below, or a file of probabilities")
@click.option("--of", "level", type=click.Choice(LEVELS), help="what it chooses  [default: items, where the policy doesn't say]")
@click.option("--surface", type=click.Choice(("page", "list")), help="that strategies make  [default: the only one in the log]")
@click.option("--estimators", metavar="NAME,…", help="some of those below, NAME:NUMBER to set τ or λ  [default: all for single rows]")
@click.option("--reward", type=click.Choice(REWARDS), help="[default: full_play; of strategies experience, or revenue]")
@click.option("--q-hat", type=click.Choice(Q_HATS), help="model of the reward  [default: ranker, by replay; of strategies out-of-time]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="of folds and intervals")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="write index.html and result.json there")
@with_settings
@as_json
def evaluate(
    log: Log, policy: str, level: str | None, surface: str | None, estimators: str | None, reward: str | None, q_hat: str | None, seed: int,
    report: Path | None, loaded: Loaded, as_json: bool,
) -> None:  # fmt: skip
    """Say what another policy would have earned, from a log with propensities; exit 1 where the log cannot answer.

    Policies of items: uniform, arm:ITEM, open-bandit-bts. Of strategies: strategy:NAME, uniform, logged, posteriors:CHECKPOINT_DIR.
    A file of probabilities has columns item_id, probability and, where it matters, position and request_id; of strategies arm,
    probability and perhaps segment.

    Estimators: replay, ips, snips, dm, dr, sndr, switch-dr, dros, clipped, sub-gaussian; of lists of items iips, rips, sips, cascade-dr.
    τ and λ by SLOPE.
    """
    from replay import evaluate as judge
    from replay import evaluation_page, strategy_policies, strategy_rounds
    from replay.rounds import read
    from streams.console import emit, progress

    level = level or ("strategies" if policy.startswith(strategy_policies.ONLY) else "items")
    of_level = judge.LEVELS[level]
    chosen = judge.Settings(
        policy=policy, reward=reward or of_level[0], q_hat=q_hat or of_level[1], seed=seed,
        estimators=tuple(estimators.split(",")) if estimators else judge.ITEMS,
    )  # fmt: skip
    s, items = loaded.settings, {item.item_id: item for item in log.items()}
    with progress("rows") as told:

        def ranker(rounds: Any, chances: Any, way: Any) -> Any:
            from replay.ranker_model import predicted

            return predicted(log.rows, items, rounds, chances, way, chosen.reward, s.partition, s.learner, s.model, s.process.threads, told)

        if level == "strategies":
            rounds = strategy_rounds.read(log.rows(), s.partition, items, surface, told)
            found = judge.strategies(rounds, strategy_policies.chances(policy, rounds, s.bandit), chosen)
        else:
            found = judge.evaluate(read(log.rows(), s.partition, items, told), chosen, ranker)
    if report:
        click.echo(f"report: {evaluation_page.write(report, found, log.name)}", err=True)
    if as_json:
        emit(found)
    else:
        from rich.console import Console

        Console().print(*evaluation_page.summary(found), sep="\n")
    if not found.answers:
        sys.exit(1)


@verb("segue simulate --events 20000 --seed 1 -o events.jsonl --items items.jsonl")
@click.option("--events", type=click.IntRange(min=0), default=20_000, show_default=True, help="records in the log")
@click.option("--seed", type=int, default=1, show_default=True, help="of the world, and of the log; the first one with --prove")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="the log: JSON lines")
@click.option("--items", "items_file", type=click.Path(path_type=Path, dir_okay=False), help="write the catalog there too")
@click.option("--world", "world", multiple=True, metavar="KEY=VALUE", help="of the world: listeners=400, items=400, days=14 …")
@click.option("--prove", "what", type=click.Choice(PROOFS), help="write nothing, but prove this of the model; exit 1 if it fails")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="worlds that --prove looks at")
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="with --prove pages: write curves as a page there")
@as_json
def simulate(
    events: int, seed: int, out: Path | None, items_file: Path | None, world: tuple[str, ...], what: str | None, seeds: int,
    report: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a log of listeners with known taste, conformity, curiosity and drift, served by a known policy.

    With --prove: let the model learn from small worlds of known truth, and hold what it learned against that; no log is written.
    """
    if report is not None and what != "pages":
        raise CallError("--report: only --prove pages has curves to write")
    if what is not None:
        return _prove(what, range(seed, seed + seeds), report, as_json)
    if out is None:
        raise CallError("--out: name the file of the log")
    import msgspec

    from replay.open_loop import write_items, write_log
    from replay.simulator import WorldSettings
    from streams.console import emit

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


def _prove(what: str, seeds: range, report: Path | None, as_json: bool) -> None:
    from replay.claims import table
    from replay.prove import prove
    from streams.console import emit, progress

    with progress("worlds") as told:
        result = prove(what, seeds, told, report)
    if as_json:
        emit(result)
    else:
        click.echo(table(result))
    if not result.passed:
        sys.exit(1)


@verb("segue broker -- segue topics --create")
@click.option("--create", is_flag=True, help="make those that are missing")
@with_settings
@at_a_broker
@as_json
def topics(create: bool, loaded: Loaded, as_json: bool) -> None:
    """Show Segue's topics and whether the broker has them as they must be; exit 1 if not."""
    import msgspec

    from streams import topics as kafka_topics
    from streams.console import emit
    from streams.follow import PATIENCE

    settings = loaded.settings.topics
    made = kafka_topics.create(settings, PATIENCE) if create else []
    problems = kafka_topics.check(settings, PATIENCE)
    wanted = kafka_topics.wanted(settings)
    if as_json:
        emit({"topics": msgspec.to_builtins(wanted), "made": made, "problems": problems})
    else:
        for topic in wanted:
            click.echo(f"{topic.name}  {topic.partitions} partition{'s' * (topic.partitions != 1)}{'  made' * (topic.name in made)}")
        click.echo("\n".join(problems) or f"all as they must be at {settings.bootstrap}")
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

    from streams.broker import EmbeddedBroker

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with EmbeddedBroker(folder, port) as kafka:
        click.echo(f"Kafka at {kafka.bootstrap}, data in {folder}", err=True)
        if command:
            environment = os.environ | {"SEGUE_TOPICS__BOOTSTRAP": kafka.bootstrap}
            sys.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603 - the user's own command
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass


@verb(
    "segue simulate --events 2000 -o events.jsonl --items items.jsonl && segue broker -- sh -c "
    "'segue topics --create && segue send events.jsonl --format jsonl --items items.jsonl'"
)
@of_a_log(FORMATS)
@with_settings
@at_a_broker
@at_a_broker
@as_json
def send(log: Log, loaded: Loaded, as_json: bool) -> None:
    """Send a log (and its catalog) into `events`: the same bytes that `segue replay` would read."""
    import asyncio

    from streams.console import emit, progress
    from streams.send import send as send_log

    with progress("rows") as told:
        rows = ((row.raw, row.arrival_ms) for row in log.rows())
        sent = asyncio.run(send_log(loaded.settings.topics, rows, log.items(), log.name, lambda n: told(n, -1)))
    if as_json:
        emit(sent)
    else:
        click.echo(f"{sent.rows:,} rows and {sent.items:,} items in {sent.records:,} Kafka records ({sent.bytes:,} bytes)")


@verb("segue run --seconds 20")
@click.option("--seconds", type=click.FloatRange(min=1), help="of listening, then close and end  [default: go on until Ctrl-C]")
@click.option("--events-per-s", type=click.FloatRange(min=1), default=200.0, show_default=True, help="of the listeners")
@click.option("--pages", type=click.FloatRange(0, 1), default=PAGE_SHARE, show_default=True, help="share of visits to a page, not a list")
@click.option("--seed", type=int, default=1, show_default=True, help="of their world, and of who comes when")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, help="of the service  [default: a free one]")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="all that is written stays there  [default: run/live-…, removed]")
@with_settings
@at_a_broker
@as_json
def run(
    seconds: float | None, events_per_s: float, pages: float, seed: int, port: int, folder: Path | None, loaded: Loaded, as_json: bool
) -> None:
    """Start everything on this machine and show it live: a real Kafka (or yours), worker, learner, simulated listeners.

    The panel is on stderr; where that is no terminal, a line every few seconds. The sum of it all is on stdout. A run has
    topics of its own, one partition and a join window of 20 s, unless these are set.
    """
    import datetime
    import time

    from replay import crowd
    from replay.simulator import World, WorldSettings
    from streams import run as runs
    from streams.console import emit
    from streams.listeners import Way
    from streams.summary import lines

    stamp = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"
    settings, embedded = runs.settings_for(loaded, stamp, port)
    if folder is not None and folder.exists():
        raise CallError(f"--dir {folder}: is there already; a run begins anew")
    listeners = crowd.Crowd(World(WorldSettings(start_ms=time.time_ns() // 1_000_000), seed), seed, pace=CROWD_PACE)
    plan = runs.Plan(
        settings=settings, embedded=embedded, folder=folder or Path("run") / f"live-{stamp}", keep=folder is not None,
        seconds=seconds, events_per_s=events_per_s, page_share=pages, seed=seed,
    )  # fmt: skip
    ways = Way(listeners.ask, listeners.react), Way(listeners.ask_page, listeners.react_page)
    told = runs.run(plan, runs.Crowd(listeners.world.catalog(), *ways), lambda text: click.echo(text, err=True))
    if as_json:
        emit(told)
    else:
        click.echo("\n".join(lines(told)))
    if seconds is not None and not told.complete:
        raise NoError(f"stopped after {told.seconds:.0f} of {seconds:.0f} s")
    if told.lag:
        raise NoError(f"{told.lag:,} records were not taken in or not learned at the end")


@verb("segue broker -- sh -c 'segue topics --create && timeout 5 segue worker; true'")
@with_settings
@at_a_broker
def worker(loaded: Loaded) -> None:
    """Take events in, keep users' state, write examples, answer over HTTP; until Ctrl-C."""
    from streams import settings
    from streams.service import Service, ServiceConfig
    from streams.standing import WorkerStands
    from streams.worker import run_worker

    s = loaded.settings
    config = ServiceConfig(
        topics=s.topics, partition=s.partition, service=s.service, recommend=s.recommend, pages=s.pages, bandit=s.bandit, copy=s.copy,
        model=s.model,
    )  # fmt: skip
    service = Service(config)
    click.echo(f"answers at {service.url}, documentation at {service.url}/docs", err=True)
    run_worker(settings.worker(s), [service, WorkerStands(s.standing, service.model)])


@verb("segue broker -- sh -c 'segue topics --create && timeout 5 segue learner; true'")
@with_settings
def learner(loaded: Loaded) -> None:
    """Learn from examples, publish every version of the model, keep checkpoints; until Ctrl-C."""
    from streams import settings
    from streams.exporter import Exporter
    from streams.learner_process import run_learner
    from streams.standing import LearnerStands

    s = loaded.settings
    run_learner(settings.learner(s), [Exporter(s.exporter), LearnerStands(s.standing)])


def of_a_request(function: Verb) -> Verb:
    """Options of what is asked of a service, and the settings that say where it is; the verb gets `wanted`, fields of the request,
    and `place`.
    """

    @functools.wraps(function)
    def call(
        user: str | None, domain: str | None, weights: tuple[str, ...], gamma_item: str | None, gamma_user: str | None,
        rank_scale: str | None, url: str | None, loaded: Loaded, **rest: Any,
    ) -> Any:  # fmt: skip
        from streams import asking

        numbers = {"gamma_item": gamma_item, "gamma_user": gamma_user, "rank_scale": rank_scale}
        wanted = {
            "user_id": user, "domain": domain, "weights": dict(map(_weight, weights)) or None,
            **{name: None if n is None else _finite(f"--{name.replace('_', '-')} {n}", n) for name, n in numbers.items()},
        }  # fmt: skip
        place = asking.Place(url or asking.at(loaded.settings.service), loaded.settings.service.token)
        return function(wanted=wanted, place=place, **rest)

    out = with_settings(call)
    for option in (
        click.option("--wait", default=0.0, type=click.FloatRange(min=0), metavar="SECONDS", help="for a service that starts just now"),
        click.option("--url", help="of the service  [default: as service.host and service.port say]"),
        click.option("--why", is_flag=True, help="tell what each score is made of, and what the model saw of the user"),
        click.option("--rank-scale", metavar="NUMBER", help="of the rank head: differences that count  [default: settings]"),
        click.option("--gamma-user", metavar="NUMBER", help="share of the user's own level to take away, -1 to 1.5  [default: settings]"),
        click.option("--gamma-item", metavar="NUMBER", help="share of momentary popularity to take away, -1 to 1.5  [default: settings]"),
        click.option("--weight", "weights", multiple=True, metavar="TASK=W", help="what it counts: skip=-2, rank=0 …  [default: settings]"),
        click.option("--domain", help="only of it: song, video, longform, live …"),
        click.argument("user", required=False),
    ):
        out = option(out)
    return out


def _request(wanted: dict[str, Any], kind: type[R]) -> R:
    import msgspec

    try:
        return msgspec.convert(wanted, kind)
    except msgspec.ValidationError as error:
        raise CallError(str(error)) from None


@verb("segue broker -- sh -c 'segue worker & segue recommend ada --k 3 --wait 60; kill $!; wait'")
@click.option("--k", type=click.IntRange(min=1), default=10, show_default=True, help="items of the list")
@click.option("--candidate", "candidates", multiple=True, metavar="ITEM", help="rank these  [default: popular, fresh and random ones]")
@click.option("--strategy", help="ranked, tail, explore, popular, a preset, or auto: one is drawn  [default: ranked]")
@of_a_request
@as_json
def recommend(
    wanted: dict[str, Any], place: Place, k: int, candidates: tuple[str, ...], strategy: str | None, why: bool, wait: float, as_json: bool
) -> None:
    """Ask a running service for USER's list; without USER for a guest's. It is a list like any other: written down as shown."""
    from streams import asking
    from streams.console import emit
    from streams.core.recommend import Request

    request = _request(wanted | {"k": k, "candidates": candidates or None, "strategy": strategy}, Request)
    answer = asking.recommend(place, request, wait)
    reasons = asking.explain(place, answer.request_id) if why else None
    if as_json:
        emit(reasons or answer)
        return
    for item in answer.items:
        click.echo(f"{item.position + 1:3}  {item.item_id:40}  {item.score:9.4f}  {item.source}")
        for line in _reasons(reasons.items[item.position]) if reasons else ():
            click.echo(f"       {line}")
    click.echo(f"{len(answer.items)} of {k}; {_made_by(answer)}", err=True)


@verb("segue broker -- sh -c 'segue worker & segue page ada --modules 3 --wait 60; kill $!; wait'")
@click.option("--modules", type=click.IntRange(min=1), help="of the page  [default: settings]")
@click.option("--per-module", type=click.IntRange(min=1), help="items of each  [default: settings]")
@click.option("--strategy", help="blend-0.25, tail, explore, fixed …  [default: one is drawn, by what each has earned]")
@of_a_request
@as_json
def page(
    wanted: dict[str, Any], place: Place, modules: int | None, per_module: int | None, strategy: str | None, why: bool, wait: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Ask a running service for USER's page of modules; without USER for a guest's. It is a page like any other: written down as shown.

    By module: what the model thinks the user makes of the category, what showing it is worth, what the strategy made of both.
    """
    from streams import asking
    from streams.console import emit
    from streams.core.pages import PageRequest

    request = _request(wanted | {"modules": modules, "per_module": per_module, "strategy": strategy}, PageRequest)
    answer = asking.page(place, request, wait)
    reasons = asking.explain(place, answer.request_id) if why else None
    if as_json:
        emit(reasons or answer)
        return
    told = iter(reasons.items if reasons else ())
    for n, module in enumerate(answer.modules, 1):
        figures = (("preference", module.preference), ("monetization", module.monetization), ("score", module.score))
        named = "".join(f"  {name} {value:.4f}" for name, value in figures if value is not None)
        click.echo(f"{n:3}  {module.name:40}{named}  chance {module.propensity:.3f}")
        for item in module.items:
            click.echo(f"     {item.position + 1:3}  {item.item_id:35}  {item.score:9.4f}  {item.source}")
            for line in _reasons(next(told)) if reasons else ():
                click.echo(f"            {line}")
    for name, chance in sorted(answer.chances.items(), key=lambda of: -of[1]):
        click.echo(f"{'*' if name == answer.strategy else ' '} {name:40}  chance {chance:.3f}")
    items = sum(len(module.items) for module in answer.modules)
    click.echo(f"{len(answer.modules)} modules, {items} items; {_made_by(answer)}", err=True)


def _made_by(answer: Answer | Page) -> str:
    model = f"model version {answer.model_version}" if answer.model_version is not None else "no model yet"
    return ", ".join([answer.strategy, model, *answer.flags])


def _weight(assignment: str) -> tuple[str, float]:
    part, _, weight = assignment.partition("=")
    return part, _finite(f"--weight {assignment}", weight)


def _finite(flag: str, number: str) -> float:
    """JSON has no other numbers."""
    try:
        value = float(number)
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        raise CallError(f"{flag}: expected a number, as in --weight skip=-2")
    return value


def _reasons(item: Explained) -> Iterator[str]:
    """What an item's score is made of, and what the model saw of the user beside it."""
    yield "  ".join(f"{t.part} {t.weight:g} x {t.value:.4f} = {t.adds:+.4f}" for t in item.terms if t.weight)
    for over in item.attention:
        if over.behaviours:
            seen = ", ".join(f"{b.item_id or 'an item that is gone'} ({b.action}) {b.weight:.3f}" for b in over.behaviours)
            yield f"{over.over}: {seen}; none of them {over.abstained:.3f}"


@verb("segue broker -- sh -c 'segue topics --create && segue metrics --seconds 1'")
@click.option("--seconds", type=click.FloatRange(min=0), help="stop after so long  [default: go on]")
@click.option("--new", is_flag=True, help="only what comes from now on")
@with_settings
@at_a_broker
@as_json
def metrics(seconds: float | None, new: bool, loaded: Loaded, as_json: bool) -> None:
    """Print what Segue measures as it comes: closed windows of event time, by task and strategy; how worker and learner stand.

    With --json a line a record, whole.
    """
    from streams.console import emit_line
    from streams.follow import metrics as follow

    for record in follow(loaded.settings.topics, not new, seconds):
        if as_json:
            emit_line(record)
        else:
            click.echo("\n".join(_told(record)))


def _told(record: Any) -> Iterator[str]:
    import datetime

    if not isinstance(record, dict) or "tasks" not in record:
        kind = record.get("kind") if isinstance(record, dict) else None
        yield _stood(record) if kind in ("worker", "learner") else _earned(record) if kind == "strategy" else str(record)
        return
    start = datetime.datetime.fromtimestamp(record["start_ms"] / 1000, datetime.UTC)
    for task, m in record["tasks"].items():
        if m["n"]:
            figures = "  ".join(f"{name} {m[name]:.4f}" if m[name] is not None else f"{name} –" for name in ("auc", "gauc", "ne", "copc"))
            yield f"{start:%Y-%m-%d %H:%M} +{record['width_ms'] // 60_000} min  {task:10} {figures}  n {m['n']:,.0f}"


def _earned(record: dict[str, Any]) -> str:
    """A strategy's hour."""
    import datetime

    start = datetime.datetime.fromtimestamp(record["start_ms"] / 1000, datetime.UTC)
    width, who = (record["end_ms"] - record["start_ms"]) // 60_000, f"{record['surface']} {record['strategy']}"
    values = (
        f"{name} {record[name]:.4f}" + (f" ± {error:.4f}" if (error := record[f"{name}_error"]) is not None else "")
        for name in ("experience", "revenue")
    )
    rounds = f"chosen {record['chosen']:,} of {record['n']:,}  ESS {record['ess']:,.0f}"
    return f"{start:%Y-%m-%d %H:%M} +{width} min  {who:20} {'  '.join(values)}  {rounds}"


def _stood(record: dict[str, Any]) -> str:
    import datetime

    at = datetime.datetime.fromtimestamp(record["at_ms"] / 1000, datetime.UTC)
    version = record["version" if record["kind"] == "learner" else "model_version"]
    lag = record["lag"] if record["kind"] == "learner" else sum(p["lag"] for p in record["partitions"].values())
    counts = "  ".join(f"{what} {n:,}" for what, n in sorted(record["counted"].items()))
    return f"{at:%Y-%m-%d %H:%M:%S} {record['kind']} {record['slot']}  lag {lag:,}  version {'–' if version is None else version}  {counts}"


@verb("segue broker -- sh -c 'segue topics --create && segue dead-letters'")
@click.option("--reason", help="only these")
@click.option("--raw", is_flag=True, help="print the originals, each as it stood (its first 64 KiB), nothing else")
@with_settings
@at_a_broker
@as_json
def dead_letters(reason: str | None, raw: bool, loaded: Loaded, as_json: bool) -> None:
    """Print every record that was not used: why, where it stood, what it was. With --json a line a record."""
    from streams.console import emit_line
    from streams.dead_letters import read
    from streams.follow import PATIENCE

    for letter in read(loaded.settings.topics, PATIENCE):
        if reason and letter.reason != reason:
            continue
        if as_json:
            emit_line(letter)
        elif raw:
            sys.stdout.buffer.write(letter.original + b"\n")
        else:
            place = f"{letter.topic}-{letter.partition}:{letter.offset}[{letter.index}]"
            click.echo(f"{place}  {letter.reason}  {letter.detail}  {letter.original[:80].decode('utf-8', 'replace')!r}")


@verb("segue checkpoint")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="where they lie  [default: process.checkpoint_dir]")
@with_settings
@as_json
def checkpoint(root: Path | None, loaded: Loaded, as_json: bool) -> None:
    """List the learner's checkpoints (epoch-offset), oldest first, each compared with its checksums; exit 1 if one is damaged."""
    from online_model import checkpoint as saved
    from streams.console import emit

    folder = root or Path(loaded.settings.process.checkpoint_dir)
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
        click.echo("\n".join(f"{name}  {state}" for name, state in told.items()) or f"no checkpoint in {folder}")
    if any(state != "whole" for state in told.values()):
        sys.exit(1)


@verb("segue doctor")
@with_settings
@as_json
def doctor(loaded: Loaded, as_json: bool) -> None:
    """Look at the installation, this machine and the broker; say what is wrong and the way out; exit 1 if Segue can't run."""
    from streams.console import emit
    from streams.doctor import examine

    findings = examine(loaded.settings.topics, loaded.settings.stores)
    if as_json:
        emit(findings)
    else:
        for finding in findings:
            click.echo(f"{'ok  ' if finding.ok else 'NO  ' if finding.needed else 'note'}  {finding.what}: {finding.found}")
            if not finding.ok and finding.remedy:
                click.echo(f"      {finding.remedy}")
    if any(finding.needed and not finding.ok for finding in findings):
        sys.exit(1)
