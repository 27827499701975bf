"""Verbs that need no broker: a log is checked, replayed, judged by, or made up."""
from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.cli.frame import CallError, as_json, pairs, verb, with_settings
from streams.cli.log_options import FORMATS, Log, of_a_log

if TYPE_CHECKING:
    from replay.evidence.holdout import Stop
    from replay.evidence.next_play import NextFound
    from replay.evidence.tables import Finding
    from streams.settings import Loaded

REWARDS = (
    "full_play",
    "collect",
    "share",
    "skip",
    "dislike",
    "play",
    "experience",
    "revenue",
)  # of replay/off_policy/rounds.py, strategy_rounds.py
Q_HATS = ("cross-fitted", "out-of-time", "ranker")  # of replay/off_policy/evaluate.py
LEVELS = ("items", "strategies")  # of it too
SLOTS = 200  # of an exposure, as in streams/core/join/events.py, and candidates of a list, by default
EVERY = 20  # plays to one question of --next: those of 30Music, 152,749 after another, then cost a minute and a half
PROOFS = ("debias", "cross-domain", "id-cross", "late-labels", "pages")  # of replay/proofs/prove.py, which loads torch


@verb("segue simulate --events 2000 -o events.jsonl && segue validate events.jsonl --format jsonl")
@of_a_log(FORMATS)
@click.option("--show", default=10, show_default=True, help="complaints a reason")
@with_settings
@as_json
def validate(log: Log, show: int, loaded: Loaded, as_json: bool) -> None:
    """Check a log (and a catalog) line by line, with the core's own verdicts; exit 1 if something is wrong.

    Says too what `segue evaluate` can answer from it, and what not.
    """
    from replay.off_policy import strategy_rounds
    from replay.off_policy.evaluate import prospects
    from replay.off_policy.rounds import RoundReader
    from replay.validate import complaints
    from streams.cli.console import emit, progress

    strategies = strategy_rounds.StrategyReader(loaded.settings.partition)
    reader = RoundReader(loaded.settings.partition, {item.item_id: item for item in log.items()})
    counts: dict[str, int] = {}
    records, told = 0, []
    with progress("records") as tell:
        for complaint in complaints(log.rows(), loaded.settings.partition, [reader, strategies]):
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


@verb(
    "segue simulate --events 2000 -o events.jsonl --items items.jsonl && "
    "segue replay events.jsonl --format jsonl --items items.jsonl --set learner.micro_batch_span_ms=10000"
)
@of_a_log((*FORMATS, "topic"))
@click.option("--rows", type=click.IntRange(min=1), help="stop after so many rows")
@click.option("--partition", default=0, show_default=True, help="of `events`, with --format topic")
@click.option("--offsets", metavar="FIRST:END", help="with --format topic: these, END not in it  [default: all there is]")
@click.option("--since", metavar="TIME", help="judge what was shown from then on apart too: 2022-04-28T00:00+08:00")
@click.option("--ablate", is_flag=True, help="what each block is worth: beside all on, a model with each one switched off")
@click.option("--freshness", is_flag=True, help="what fresh parameters are worth: published every 0 s, 1 s, 1 min, 30 min, 5 h")
@click.option("--gamma", metavar="0,0.5,1", help="what is gained or lost by taking these shares of popularity's part away")
@click.option("--judge", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="with --gamma: a log to predict, not to learn")
@click.option("--next", "k", type=click.IntRange(1, SLOTS), help="would a list of so many, made just before a play, have had its item?")
@click.option(
    "--every", type=click.IntRange(min=1), help=f"with --next: ask before each N-th such play, 10 to 15 ms each  [default: {EVERY}]"
)
@click.option("--report", type=click.Path(path_type=Path, file_okay=False), help="write index.html and result.json there")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or auto")
@with_settings
@as_json
def replay(
    log: Log, rows: int | None, partition: int, offsets: str | None, since: str | None, ablate: bool, freshness: bool, gamma: str | None,
    judge: Path | None, k: int | None, every: int | None, report: Path | None, device: str, loaded: Loaded, as_json: bool,
) -> None:  # fmt: skip
    """Run a log through the very code that runs live: predict every exposure, then learn from it.

    Figures by task: AUC, GAUC, log loss, NE (log loss over the base rate's), COPC (what happened over what was predicted).
    Those of --ablate, --freshness and --gamma are of the same one pass; what they differ by has an interval (bootstrap of users).

    --next 20 asks for lists with candidates of their own, and holds them against the most played and the last item's successors; exit 1
    where no play of the log follows another of its user.
    """
    from contextlib import nullcontext
    from itertools import islice

    from msgspec import to_builtins

    from online_model import devices
    from online_model.trainer import Trainer
    from replay import prequential
    from streams.cli.console import emit, progress
    from streams.core.join.catalog import Catalog
    from streams.core.join.partition import Partition
    from streams.core.join.state import Tables
    from streams.core.learning.learn import Learner
    from streams.core.learning.strategy_bandit import StrategyBandit
    from streams.core.serving.surfaces import arms
    from streams.kafka_io.topics import reaching

    settings, live = loaded.settings, log.form == "topic"
    devices.use_threads(settings.process.threads)
    catalog = Catalog()
    known = [catalog.put(item) for item in log.items()]
    machine = Partition(settings.partition, Tables.over(), catalog, partition)
    chosen, gammas = devices.chosen(device), _gammas(gamma)
    if judge and (not gammas or live):
        raise CallError("--judge: it goes with --gamma, and with logs of files")
    if k is None and every is not None:
        raise CallError("--every: it goes with --next")
    if k is not None and (ablate or freshness or gammas):
        raise CallError("--next: it goes without --ablate, --freshness and --gamma")

    def arrivals() -> Iterator[prequential.Numbered]:
        if not live:
            return islice(prequential.of_file(log.rows()), rows)
        from streams.kafka_io.follow import events

        return islice(events(settings.topics, partition, *_range(offsets)), rows)

    reached = reaching(settings.topics.bootstrap) if live else nullcontext()
    found: list[Finding] = []
    following: NextFound | None = None
    with reached, progress("rows") as told:
        if ablate or freshness or gammas:
            from replay.evidence.holdout import Judge, Tail, of_acts, stopping
            from replay.evidence.tables import SPANS_MS, Evidence, Question, tail_ms

            question = Question(ablate=ablate, spans_ms=SPANS_MS * freshness, gammas=gammas, frozen_from_ms=tail_ms(arrivals()))
            evidence = Evidence(question, settings.model, settings.learner, chosen)
            learner = evidence.learner

            def second() -> Iterator[prequential.Numbered]:
                return prequential.of_file(log._replace(paths=(judge,)).rows()) if judge else iter(())

            for _ in of_acts(second()):
                pass  # what can't be judged is known before a long pass
            stops: list[Stop] = [Judge(second(), machine, evidence.ask, evidence.uniform)]
            if ablate or gammas:
                stops.append(Tail(arrivals, machine, evidence.ask_tail, question.frozen_from_ms))
            result = prequential.run(
                arrivals(), machine, learner, closing=not live, since_ms=_moment(since), progress=told, batches=stopping(stops),
                also=evidence.also,
            )  # fmt: skip
            found = evidence.findings(result)
        else:
            strategy_bandit = StrategyBandit(arms(settings.pages, settings.recommend), settings.bandit)
            learner = Learner(settings.learner, Trainer(settings.model, chosen), strategy_bandit)
            if k is None:
                result = prequential.run(arrivals(), machine, learner, closing=not live, since_ms=_moment(since), progress=told)
            else:
                from replay.evidence.next_play import NextPlay, NextSettings
                from replay.logs import session

                sessions = () if live else (session(log.kind()),)
                asking = NextPlay(NextSettings(k=k, every=every or EVERY), settings.recommend, machine, learner, known, *sessions)
                result = prequential.run(
                    arrivals(), machine, learner, closing=not live, since_ms=_moment(since), progress=told, batches=asking.batches,
                    after=asking.after,
                )  # fmt: skip
                following = asking.found()
    answers: list[Any] = [following] if following else [*found]
    if report:
        from replay.evidence.findings import sections
        from replay.report import write

        name = f"{settings.topics.prefix}.events-{partition}" if live else log.name
        histogram = learner.metrics.arrays()["total.histogram"]
        more = list(sections(found))
        if following:
            from replay.evidence.next_page import section

            more.append(section(following))
        page = write(report, result, histogram, loaded.values, name, more, answers)
        click.echo(f"report: {page}", err=True)
    if as_json:
        emit({**to_builtins(result), "evidence": to_builtins(answers)} if answers else result)
    else:
        from rich.console import Console

        from replay.evidence.findings import tables
        from replay.report import summary

        Console().print(*summary(result), *tables(found), sep="\n")
        if following:
            from replay.evidence.next_page import table

            Console().print(*table(following), sep="\n")
    if following and not following.questions:
        sys.exit(1)


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
    "segue evaluate events.jsonl --format jsonl --items items.jsonl --policy uniform --set learner.micro_batch_span_ms=10000"
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
    from replay.off_policy import evaluate as judge
    from replay.off_policy import evaluation_page, strategy_policies, strategy_rounds
    from replay.off_policy.rounds import read
    from streams.cli.console import emit, progress

    level = level or ("strategies" if policy.startswith(strategy_policies.ONLY) else "items")
    of_level = judge.LEVELS[level]
    chosen = judge.Settings(
        policy=policy, reward=reward or of_level[0], q_hat=q_hat or of_level[1], seed=seed,
        estimators=tuple(estimators.split(",")) if estimators else judge.ITEMS,
    )  # fmt: skip
    s, items = loaded.settings, {item.item_id: item for item in log.items()}
    with progress("rows") as told:
        from replay.off_policy.ranker_model import RankerModel

        ranker = RankerModel(log.rows, items, s.partition, s.learner, s.model, s.process.threads, told)
        if level == "strategies":
            rounds = strategy_rounds.read(log.rows(), s.partition, items, surface, told)
            found = judge.strategies(rounds, strategy_policies.target_policy(policy, rounds, s.bandit), chosen)
        else:
            found = judge.evaluate(read(log.rows(), s.partition, items, told), chosen, ranker.predicted)
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
@click.option("--world", "world", multiple=True, metavar="KEY=VALUE", help="of the world: listeners=400, days=14, switch_days=[1.5] …")
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

    from replay.simulator.open_loop import write_items, write_log
    from replay.simulator.world import WorldSettings
    from streams.cli.console import emit
    from streams.settings import parsed

    try:
        settings = msgspec.convert({key: parsed(text) for key, text in pairs("--world", world).items()}, WorldSettings)
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
    from replay.proofs.claims import table
    from replay.proofs.prove import prove
    from streams.cli.console import emit, progress

    with progress("worlds") as told:
        result = prove(what, seeds, told, report)
    if as_json:
        emit(result)
    else:
        click.echo(table(result))
    if not result.passed:
        sys.exit(1)
