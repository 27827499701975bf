"""The developers' log of KuaiRand with defaults, one pass, set against other systems' predictions for the same rows where there are any.

PEERS names the file of the others' predictions (`against.py` says how it looks); without it ours stand alone, with intervals, and
nothing is said of others. (Not SEGUE_PEERS: that would be a setting that `segue` does not know.)
"""
from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
import torch

from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from replay import logs, prequential
from replay.evidence.holdout import Tail, stopping
from replay.evidence.ledger import Ledger, PredictedExposures
from replay.evidence.side_by_side import ComparedLearner, frozen_name
from streams.core.join.catalog import Catalog
from streams.core.join.events import EARLIEST_TS
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.state.tables import Tables
from tests.replay.evidence.against import OURS, Verdict, copc, said, verdicts

pytestmark = [pytest.mark.real_log, pytest.mark.prove]

LOG = "kuairand-pure/log_standard_4_25_to_4_30_pure.csv.gz"
SINCE_MS = int(datetime.fromisoformat("2022-04-28T00:00+08:00").timestamp() * 1000)  # defaults were chosen on the rows before
COMPARED = ("skip", "full_play", "collect")


@dataclass(slots=True)
class Pass:
    """One pass with defaults over a log, and the last 30 % of its rows by what was known before them."""

    judged: PredictedExposures
    rate: float


def one_pass(path: Path) -> Pass:
    rows = list(logs.read([path], logs.Format.KUAIRAND, logs.Columns()))
    times = list({row.raw: logs.time_of(row, EARLIEST_TS) for row in rows}.values())  # equal rows once
    from_ms = times[int(0.7 * len(times))]
    assert from_ms is not None
    catalog = Catalog()
    for item in logs.items([path], logs.Format.KUAIRAND):
        catalog.put(item)
    ledger = Ledger()
    rival = ComparedLearner(OURS, ModelSettings(), LearnerSettings(), "cpu", ledger)
    rival.before(lambda batch, now_ms: ledger.exposed(batch))
    machine = Partition(PartitionSettings(), Tables.over(), catalog)
    tail = Tail(lambda: prequential.of_file(rows), machine, rival.ask, from_ms)
    result = prequential.run(
        prequential.of_file(rows), machine, rival.learner, closing=True, batches=stopping([tail]),
        also=lambda source, records: ledger.learned(records),
    )  # fmt: skip
    return Pass(ledger.exposures(), result.examples / (result.learned_s - rival.watched_s))


def test_every_task_is_ranked_and_calibrated_as_well_as_by_the_strongest_alternative(data_dir: Path) -> None:
    torch.set_num_threads(1)
    done = one_pass(data_dir / LOG)
    theirs = os.environ.get("PEERS")
    found = said(done.judged, OURS, frozen_name(OURS), Path(theirs) if theirs else None)
    told: dict[tuple[str, str], Verdict] = {}
    print(f"set against {Path(theirs).name if theirs else 'nobody'}")
    print(f"{len(done.judged):,} exposures, {done.rate:,.0f} a second predicted and learned, one core")
    for verdict in verdicts(done.judged, found, SINCE_MS):
        told[verdict.task, verdict.what] = verdict
        print(verdict)
    calibrated = copc(done.judged, found)
    for task, interval in calibrated.items():
        print(f"{task:10}COPC {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
    positives = {task: found[task].labels.sum() for task in TASKS}
    off = {task: interval.value for task, interval in calibrated.items() if abs(interval.value - 1) > 0.03 + 2 / positives[task] ** 0.5}
    assert off == {}
    assert all(told[task, "AUC"].by_system[OURS][0].low > 0.5 for task in COMPARED)
    assert missed(told) == []
    assert theirs, (
        "PEERS names no file of what others predicted: the lines against them were not judged (tests/replay/evidence/peers.py makes one)"
    )


def missed(told: dict[tuple[str, str], Verdict]) -> list[str]:
    """Which of the lines against others do not hold."""
    out = []
    for (task, what), verdict in told.items():
        for name, (_, less) in verdict.by_system.items():
            held = True
            if name == OURS:
                continue
            if what == "AUC" and task in COMPARED:
                held = less.low > 0 if name == verdict.strongest else less.value > 0
            elif what == "NE":
                held = less.value < 0
            elif what == "AUC, first 10,000" and task in COMPARED and name.startswith("vw"):
                held = less.value >= 0
            elif what == "AUC, second half" and task in COMPARED and name == "din":
                held = less.value > 0
            elif what == "GAUC, frozen tail" and task in COMPARED:
                held = less.value >= 0
            if not held:
                out.append(f"{task} {what} against {name}: {less}")
    return out
