"""How long `segue replay` takes: to a first result, over 20,000 simulated events, and in its own steps against those that run live.

The first two are whole processes, from the command to the table. The steps are compared in one pass over KuaiRand's standard log (its
first rows, `--rows`): both learners get the same records from the same partition, so their AUCs are paired, with intervals over users.
"""
from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.figure import Figure
from online_model import devices
from online_model.model_settings import ModelSettings
from replay import logs, prequential
from replay.evidence.intervals import RESAMPLES
from replay.evidence.ledger import Ledger
from replay.evidence.side_by_side import ComparedLearner
from replay.evidence.tables import Comparison, measured
from replay.log_rows import Columns
from replay.prequential import Numbered
from replay.simulator.open_loop import write_items, write_log
from replay.simulator.world import WorldSettings
from replay.suited import pace
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.records import Outgoing
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.state.tables import Tables

KUAIRAND = Path("kuairand-pure/log_standard_4_25_to_4_30_pure.csv.gz")
FEW, MANY = 1_000, 20_000  # simulated events
OWN, LIVE = "own steps", "live steps"
SHARE, WITHIN = 15, 0.0005  # of live steps' time at most; of their AUC


def measure(rows: int) -> Iterator[Figure]:
    """Processes first; then the steps, where SEGUE_DATA names the folder of the public logs (default: ../shared/data)."""
    with TemporaryDirectory() as folder:
        yield from processes(Path(folder))
    path = Path(os.environ.get("SEGUE_DATA", "../shared/data")) / KUAIRAND
    if path.exists():
        yield from steps(path, rows)
    else:
        sys.stderr.write(f"no {path}: steps are not compared; SEGUE_DATA names the folder of the public logs\n")


def processes(folder: Path, few: int = FEW, many: int = MANY) -> Iterator[Figure]:
    """`segue replay` as a user runs it; importing torch alone stands beside the short one."""
    log, items = folder / "events.jsonl", folder / "items.jsonl"
    command = [sys.executable, "-m", "streams", "replay", str(log), "--format", "jsonl", "--items", str(items), "--json"]
    write_items(items, WorldSettings(), 1)
    write_log(log, WorldSettings(), few, 1)
    torch = _took([sys.executable, "-c", "import torch"])
    yield Figure(
        what=f"segue replay of {few:,} rows, to its table", unit="s", ours=_took(command), baseline="importing torch, of that",
        theirs=torch, budget="< 6 s",
    )  # fmt: skip
    write_log(log, WorldSettings(), many, 1)
    yield Figure(
        what=f"segue replay of {many:,} rows", unit="s", ours=_took(command), baseline="the same with --light",
        theirs=_took([*command, "--light"]), budget="< 15 s on 2 cores",
    )  # fmt: skip


def steps(path: Path, rows: int) -> Iterator[Figure]:
    """Steps as suit the log's pace against steps as live, by one partition."""
    devices.use_threads(1)

    def arrivals() -> Iterator[Numbered]:
        return prequential.of_file(islice(logs.read([path], logs.Format.KUAIRAND, Columns()), rows))

    catalog, ledger = Catalog(), Ledger()
    for item in logs.items([path], logs.Format.KUAIRAND):
        catalog.put(item)
    live = ComparedLearner(LIVE, ModelSettings(), LearnerSettings(), "cpu", ledger)
    own = ComparedLearner(OWN, ModelSettings(), pace.suited(LearnerSettings(), arrivals()), "cpu", ledger)
    live.before(lambda batch, now_ms: ledger.exposed(batch))

    def also(source: int, records: Sequence[Outgoing]) -> None:
        ledger.learned(records)
        own.apply(source, records)

    partition = Partition(PartitionSettings(), Tables.over(), catalog)
    result = prequential.run(arrivals(), partition, live.learner, closing=True, also=also)
    learned_s, own_s = result.learned_s - live.watched_s, result.examples / own.rate
    shared_s = result.seconds - result.learned_s - own_s - own.watched_s
    yield Figure(
        what=f"replay of {result.rows:,} rows of KuaiRand in steps of {own.learner.settings.micro_batch_span_ms / 1000:,.0f} s", unit="s",
        ours=shared_s + own_s, baseline="in steps as live", theirs=shared_s + learned_s, budget=f"<= {1 / SHARE:.2f}",
    )  # fmt: skip
    exposures = ledger.exposures()
    found, _ = measured(exposures, Comparison([LIVE, OWN]), [("all", np.ones(len(exposures), bool))], RESAMPLES)
    for before, after in zip(found[::2], found[1::2], strict=True):
        more = after.auc_more
        yield Figure(
            what=f"… AUC of {after.task}", unit="", ours=after.auc, baseline="in steps as live", theirs=before.auc,
            budget=f"{more.value:+.4f} [{more.low:+.4f}, {more.high:+.4f}], within {WITHIN}",
        )  # fmt: skip


def _took(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
