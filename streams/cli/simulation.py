"""The verb that makes a log: simulated listeners, or a claim that is tested on small worlds."""
from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec

from streams.cli.console import progress, show
from streams.cli.frame import CallError, as_json, bundled, moment, pairs, verb

PROOFS = ("debias", "cross-domain", "first-feedback", "id-cross", "late-labels", "pages", "vectors")  # as replay/proofs/prove.py has them
REPORT = click.Path(path_type=Path, file_okay=False)


class SimulateFlags(NamedTuple):
    """The options of `segue simulate`, as they were given."""

    events: int
    seed: int
    out: Path | None
    items_file: Path | None
    until: str | None
    world: dict[str, str]
    prove: str | None
    seeds: int
    report: Path | None


@verb("segue simulate --events 5000 --seed 1 -o events.jsonl --items items.jsonl")
@click.option("--events", type=click.IntRange(min=0), default=20_000, show_default=True, help="records in the log")
@click.option("--seed", type=int, default=1, show_default=True, help="of world and log; the first one with --prove")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), help="the log: JSON lines")
@click.option("--items", "items_file", type=click.Path(path_type=Path, dir_okay=False), help="also write the catalog there")
@click.option(
    "--until", metavar="TIME", help="of the last record: 2025-01-15T00:00Z; with it, equal calls write equal bytes  [default: now]"
)
@click.option(
    "--world", multiple=True, callback=pairs, metavar="KEY=VALUE", help="of the world: listeners=400, days=14, switch_days=[1.5] …"
)
@click.option("--prove", type=click.Choice(PROOFS), help="write no log; test this claim about the model; exit 1 if it fails")
@click.option("--seeds", type=click.IntRange(min=2), default=10, show_default=True, help="number of worlds for --prove")
@click.option("--report", type=REPORT, help="with --prove pages: write curves as a page there")
@bundled(SimulateFlags)
@as_json
def simulate(options: SimulateFlags, as_json: bool) -> None:
    """Write a log of simulated listeners with known taste, conformity, curiosity and drift, served by a known policy.

    With --prove: the model learns from small worlds of known truth and is compared with that truth; no log is written.
    """
    o = options
    if o.report is not None and o.prove != "pages":
        raise CallError("--report: only --prove pages has curves to write")
    if o.prove is not None:
        return _prove(o.prove, range(o.seed, o.seed + o.seeds), o.report, as_json)
    if o.out is None:
        raise CallError("--out: name the file of the log")
    from replay.simulator.open_loop import later, write_items, write_log
    from replay.simulator.world import WorldSettings
    from streams.clock import now_ms
    from streams.settings import parsed

    try:
        world = msgspec.convert({key: parsed(text) for key, text in o.world.items()}, WorldSettings)
    except msgspec.ValidationError as error:
        raise CallError(f"--world: {error}") from None
    if o.until is not None and "start_ms" in o.world:
        raise CallError("--until, --world start_ms: the one follows from the other; leave one of them out")
    until_ms = moment("--until", o.until)
    later_ms = 0 if "start_ms" in o.world else later(world, o.events, o.seed, now_ms() if until_ms is None else until_ms)
    written: dict[str, Any] = {"log": str(o.out), "events": write_log(o.out, world, o.events, o.seed, later_ms=later_ms)}
    catalog = ""
    if o.items_file:
        written |= {"catalog": str(o.items_file), "items": write_items(o.items_file, world, o.seed, later_ms)}
        catalog = f", {written['items']:,} items in {o.items_file}"
    show(written, [f"{written['events']:,} records in {o.out}{catalog}"], as_json)


def _prove(claim: str, seeds: range, report: Path | None, as_json: bool) -> None:
    """Test a claim about the model; exit 1 if it fails."""
    from replay.proofs.claims import table
    from replay.proofs.prove import prove

    with progress("worlds") as update:
        result = prove(claim, seeds, update, report)
    show(result, [table(result)], as_json)
    if not result.passed:
        sys.exit(1)
