"""Verbs that need no broker: they replay a log, or evaluate a policy on it."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec

from streams.cli.console import progress, show_tables
from streams.cli.frame import CallError, NoError, as_json, bundled, moment, renamed, verb, with_settings
from streams.cli.log_options import FORMATS, Log, with_log, with_negatives

if TYPE_CHECKING:
    from online_model.model_settings import ModelSettings
    from replay.assembly import Source
    from replay.negatives import Negatives
    from replay.options import CoreSettings, ReplayOptions
    from replay.prequential import Numbered, Omissions
    from streams.settings import Loaded, Settings

REWARDS = ("full_play", "collect", "share", "skip", "dislike", "play", "experience", "revenue")  # of replay/off_policy/*rounds.py
Q_HATS = ("cross-fitted", "out-of-time", "ranker")  # of replay/off_policy/evaluate.py
LEVELS = ("items", "strategies")  # of the same
MAX_SLOTS = 200  # of an exposure, as in streams/core/join/events.py
EVERY_BLOCK = "all"
EVERY = 20  # as in replay/options.py
LISTED = 20  # items of the slates that are asked for where negatives are drawn: the headline of such a log
AS_LIVE = click.option("--as-live", is_flag=True, help="let the learner step and forget as it does live, however far apart acts are: slow")
MEMORY = ("partition.rate_half_life_h", "model.expire_d")  # what a replay suits to its log, where nobody has set it
REPORT = click.Path(path_type=Path, file_okay=False)


class ReplayFlags(NamedTuple):
    """The options of `segue replay`, as they were given."""

    rows: int | None
    partition: int
    offsets: str | None
    since: str | None
    ablate: str | None
    freshness: bool
    gamma: str | None
    holdout: Path | None
    k: int | None
    every: int | None
    yardsticks: bool
    as_live: bool
    light: bool
    report: Path | None
    predictions: Path | None
    device: str
    negatives: int | None

    def checked(self, log: Log, loaded: Loaded) -> ReplayOptions:
        """The options of the replay. Raises CallError where two exclude each other, or one needs another."""
        from replay.options import ReplayOptions

        gammas, blocks = _gammas(self.gamma), _blocks(self.ablate, loaded.settings.model)
        if self.holdout and (not gammas or log.form == "topic"):
            raise CallError("--holdout: it needs --gamma, and logs of files")
        if self.k is None and self.every is not None:
            raise CallError("--every: it needs --next")
        if self.yardsticks and (self.ablate or self.freshness or gammas):
            raise CallError("--yardsticks: it excludes --ablate, --freshness and --gamma")
        if self.light and (self.ablate or gammas):
            raise CallError("--light: it excludes --ablate and --gamma, which ask about what it switches off")
        if self.k is not None and (self.ablate or self.freshness or gammas):
            raise CallError("--next: it excludes --ablate, --freshness and --gamma")
        return ReplayOptions(
            partition=self.partition, since_ms=moment("--since", self.since), ablate=blocks, freshness=self.freshness, gammas=gammas,
            next_k=self.k, next_every=self.every or EVERY, yardsticks=self.yardsticks, device=self.device, predictions=self.predictions,
            as_logged=self.as_live or log.form == "topic",
            as_live=self.as_live or self.freshness or _is_set(loaded, "learner.micro_batch_span_ms"),
            remembers_as_live=self.as_live or log.form == "topic" or _is_set(loaded, *MEMORY),  # a topic was live
        )  # fmt: skip

    def drawing(self, log: Log, earliest_ts: int) -> Negatives | None:
        """What is drawn beside the acts of the log, said on stderr. Raises CallError for a log whose exposures say it themselves."""
        if log.form == "topic":
            if self.negatives:
                raise CallError("--negatives: it needs a log of files; `segue send --negatives` puts drawn ones into a topic")
            return None
        drawing = log.drawing(self.negatives, earliest_ts)
        if drawing:
            click.echo(f"segue: {drawing.summary()}", err=True)
        return drawing


@verb("segue simulate --events 1000 -o events.jsonl --items items.jsonl && segue replay events.jsonl --format jsonl --items items.jsonl")
@with_log((*FORMATS, "topic"))
@click.option("--rows", type=click.IntRange(min=1), help="stop after so many rows")
@click.option("--partition", default=0, show_default=True, help="of `events`, with --format topic")
@click.option("--offsets", metavar="FIRST:END", help="with --format topic: only these, END excluded  [default: all]")
@click.option("--since", metavar="TIME", help="also measure the exposures from then on by themselves: 2022-04-28T00:00+08:00")
@click.option(
    "--ablate", is_flag=False, flag_value=EVERY_BLOCK, metavar="[BLOCK,…]",
    help="compare the full model with models that lack one block each: all of them, or those named, as in cin,id_cross",
)  # fmt: skip
@click.option("--freshness", is_flag=True, help="compare parameters published every 0 s, 1 s, 1 min, 30 min, 5 h")
@click.option("--gamma", metavar="0,0.5,1", help="compare these shares of popularity's part taken away")
@click.option(
    "--holdout", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="LOG",
    help="with --gamma: a second log that is predicted and never learned from",
)  # fmt: skip
@renamed("--judge", "--holdout")
@click.option(
    "--next", "k", type=click.IntRange(1, MAX_SLOTS), help="measure how often a slate of so many, made just before a play, had it"
)
@click.option(
    "--every", type=click.IntRange(min=1), help=f"with --next: one question to N such plays, as long as three lists  [default: {EVERY}]"
)
@click.option("--yardsticks", is_flag=True, help="with --next: also compare with neighbouring sessions and a linear mix")
@AS_LIVE
@click.option("--light", is_flag=True, help="the linear path of the ranker alone, for a quick look: half the time, lower figures")
@with_negatives("4")
@click.option("--report", type=REPORT, help="write index.html and result.json there, with every window")
@click.option(
    "--predictions", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
    help="write every scored exposure there as Parquet, with its labels and what was predicted when it was shown",
)  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto")
@bundled(ReplayFlags)
@with_settings
@as_json
def replay(log: Log, options: ReplayFlags, loaded: Loaded, as_json: bool) -> None:
    """Run a log through the code that runs live: predict every exposure, then learn from it (prequential evaluation).

    Metrics by task: AUC, GAUC, log loss, NE (log loss over the base rate's), COPC (observed over predicted acts).
    --ablate, --freshness and --gamma are measured in the same pass; differences carry bootstrap intervals over users.

    --next 20 asks for slates with candidates of their own and compares them with the most played items and with the successors of the
    user's last item; exit 1 where no play of the log follows another one of its user, or no record of it can be used. It is on by default
    where the log has no exposures: its negatives are drawn (--negatives), and lists need none.
    """
    from replay import assembly
    from streams.interrupts import Signals
    from streams.kafka_io.topics import reaching
    from streams.worker.stores import scratch

    wanted = options.checked(log, loaded)
    if options.light:
        loaded = _light(loaded)
    drawing = options.drawing(log, loaded.settings.events.earliest_ts)
    if drawing and not (wanted.next_k or wanted.ablate or wanted.freshness or wanted.gammas):
        wanted = msgspec.structs.replace(wanted, next_k=LISTED)
    if options.yardsticks and wanted.next_k is None:
        raise CallError("--yardsticks: it needs --next")
    source = _source(log, options, loaded.settings, drawing)
    reached = reaching(loaded.settings.topics.bootstrap) if log.form == "topic" else nullcontext()
    with reached, Signals() as signals, scratch(loaded.settings.stores) as store, log.metered() as share, progress("rows", share) as update:
        signals.handle_with(_aborted)
        outcome = assembly.replay(source, _core(loaded.settings), wanted, update, store)
    if options.report:
        name = f"{loaded.settings.topics.prefix}.events-{options.partition}" if log.form == "topic" else log.name
        click.echo(f"report: {assembly.write_report(options.report, outcome, loaded.values, name)}", err=True)
    if outcome.predicted:
        click.echo(f"predictions: {outcome.predicted.file}, {outcome.predicted.rows:,} rows", err=True)
    show_tables(outcome.document(), assembly.tables(outcome), as_json)
    if problem := assembly.refusal(outcome):
        raise NoError(problem)
    nothing_asked = options.k is not None and outcome.next_plays and not outcome.next_plays.questions
    if nothing_asked or (outcome.result.rows and not outcome.result.events):
        sys.exit(1)


def _source(log: Log, options: ReplayFlags, settings: Settings, drawing: Negatives | None) -> Source:
    """The log as records: of its files, or of the topic `events`."""
    from replay import logs
    from replay.assembly import Source

    earliest_ts = settings.events.earliest_ts
    if log.form == "topic":
        from streams.kafka_io.follow import events

        first, end = _range(options.offsets)
        read = partial(events, settings.topics, options.partition, first, end, earliest_ts)
        return Source(lambda: islice(read(), options.rows), log.items(), closing=False)

    def records() -> Iterator[Numbered]:
        return log.arrivals(earliest_ts, None, drawing, options.rows)

    def counting(omissions: Omissions) -> Iterator[Numbered]:
        return log.arrivals(earliest_ts, omissions, drawing, options.rows)

    def holdout() -> Iterator[Numbered]:
        paths = (options.holdout,) if options.holdout else ()
        return log._replace(paths=paths).arrivals(earliest_ts) if paths else iter(())

    notes = drawing.notes if drawing else tuple
    return Source(records, log.items(), session=logs.session(log.kind()), holdout=holdout, counting=counting, notes=notes)


def _aborted() -> None:
    """What a signal does: all that was half done goes."""
    raise KeyboardInterrupt


def _is_set(loaded: Loaded, *keys: str) -> bool:
    """Whether somebody has set one of these settings."""
    return any(value.key in keys and value.source != "default" for value in loaded.values)


def _light(loaded: Loaded) -> Loaded:
    """The settings with the linear path of the model alone."""
    from online_model.model_settings import LIGHT, linear

    off = {f"model.{name}": value for name, value in LIGHT.items()}
    values = [value._replace(value=off[value.key], source="--light") if value.key in off else value for value in loaded.values]
    return loaded._replace(settings=msgspec.structs.replace(loaded.settings, model=linear(loaded.settings.model)), values=values)


def _core(s: Settings) -> CoreSettings:
    from replay.options import CoreSettings

    return CoreSettings(
        partition=s.partition, learner=s.learner, model=s.model, recommend=s.recommend, pages=s.pages, bandit=s.bandit,
        threads=s.learner_process.threads,
    )  # fmt: skip


def _gammas(given: str | None) -> tuple[float, ...]:
    try:
        return tuple(float(gamma) for gamma in given.split(",")) if given else ()
    except ValueError:
        raise CallError(f"--gamma {given}: expected numbers with commas, as in 0,0.5,1") from None


def _blocks(given: str | None, model: ModelSettings) -> tuple[str, ...]:
    """The blocks of the model that are to be switched off, one at a time."""
    from online_model.model_settings import ModelSettings, blocks

    if given is None:
        return ()
    names = blocks(model) if given == EVERY_BLOCK else tuple(dict.fromkeys(name.strip() for name in given.split(",")))
    if unknown := [name for name in names if name not in blocks(ModelSettings())]:
        log = f". If {given} is the log: it stands before --ablate, or behind --ablate={EVERY_BLOCK}" if Path(given).exists() else ""
        raise CallError(f"--ablate {given}: no block is named {unknown[0]}; there are {', '.join(blocks(ModelSettings()))}{log}")
    if off := [name for name in names if name not in blocks(model)]:
        raise CallError(f"--ablate {given}: {off[0]} is switched off already (model.{off[0]})")
    return names


def _range(offsets: str | None) -> tuple[int | None, int | None]:
    first, colon, end = (offsets or ":").partition(":")
    try:
        if colon:
            return int(first) if first else None, int(end) if end else None
    except ValueError:
        pass
    raise CallError(f"--offsets {offsets}: expected FIRST:END, as in 0:1000 or 500:")


class EvaluateFlags(NamedTuple):
    """The options of `segue evaluate`, as they were given."""

    policy: str
    level: str | None
    surface: str | None
    estimators: str | None
    reward: str | None
    q_hat: str | None
    seed: int
    as_live: bool
    report: Path | None


@verb(
    "segue simulate --events 1000 --world items=60 -o events.jsonl --items items.jsonl && "
    "segue evaluate events.jsonl --format jsonl --items items.jsonl --policy uniform"
)
@with_log(FORMATS)
@click.option("--policy", required=True, metavar="P", help="one of those below, or a file of probabilities")
@click.option("--of", "level", type=click.Choice(LEVELS), help="what it chooses  [default: items, unless the policy says otherwise]")
@click.option("--surface", type=click.Choice(("page", "list")), help="of the strategies  [default: the only one in the log]")
@click.option("--estimators", metavar="NAME,…", help="some of those below; NAME:NUMBER sets τ or λ  [default: all for single rows]")
@click.option("--reward", type=click.Choice(REWARDS), help="[default: full_play; of strategies experience, or revenue]")
@click.option("--q-hat", type=click.Choice(Q_HATS), help="model of the reward  [default: ranker, by replay; of strategies out-of-time]")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0), help="of folds and intervals")
@AS_LIVE
@click.option("--report", type=REPORT, help="write index.html and result.json there")
@bundled(EvaluateFlags)
@with_settings
@as_json
def evaluate(log: Log, options: EvaluateFlags, loaded: Loaded, as_json: bool) -> None:
    """Estimate off-policy what another policy would have earned, from a log with propensities; exit 1 where an estimator is refused.

    Policies of items: uniform, arm:ITEM, open-bandit-bts[:CAMPAIGN]. Of strategies: strategy:NAME, uniform, logged,
    posteriors:CHECKPOINT_DIR. A file of probabilities has columns item_id, probability and, where it matters, position, module and
    request_id; of strategies arm, probability and optionally segment.

    Estimators: replay, ips, snips, dm, dr, sndr, switch-dr, dros, clipped, sub-gaussian; of slates of items iips, rips, sips,
    cascade-dr. τ and λ are tuned by SLOPE.
    """
    from replay.off_policy import assembly, evaluation_page
    from replay.options import EvaluateOptions

    chosen = options._asdict() | {"estimators": tuple(options.estimators.split(",")) if options.estimators else None}
    chosen["as_live"] = options.as_live or _is_set(loaded, "learner.micro_batch_span_ms")
    chosen["remembers_as_live"] = options.as_live or _is_set(loaded, *MEMORY)
    report = chosen.pop("report")
    with log.metered() as share, progress("rows", share) as update:
        arrivals = partial(log.arrivals, loaded.settings.events.earliest_ts)
        evaluation = assembly.evaluate(arrivals, log.items(), _core(loaded.settings), EvaluateOptions(**chosen), update)
    if report:
        click.echo(f"report: {evaluation_page.write(report, evaluation, log.name)}", err=True)
    show_tables(evaluation, evaluation_page.summary(evaluation), as_json)
    if evaluation.mostly_rejected:
        raise NoError(evaluation.mostly_rejected)
    if not evaluation.answers:
        sys.exit(1)
