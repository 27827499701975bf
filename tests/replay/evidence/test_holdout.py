"""Open Bandit, men: learned from what Thompson sampling showed, judged by what chance showed on the same days, for three gammas.

A click is the only act (the task full_play), a "user" one of the log's groups of users. Both logs have some fifty clicks: the interval
says what that supports.
"""
from __future__ import annotations

from pathlib import Path

import pytest
import torch

from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from replay import logs, prequential
from replay.evidence.holdout import HoldoutRows, stopping
from replay.evidence.ledger import Ledger
from replay.evidence.side_by_side import ComparedLearner, ask_gammas, gamma_name
from replay.evidence.tables import Comparison, Row, measured
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings
from streams.core.state.tables import Tables

pytestmark = [pytest.mark.real_log, pytest.mark.prove]

GAMMAS = (0.0, 0.5, 1.0)
TOP = 0.1
NAME = "bts"


def curve(folder: Path) -> list[Row]:
    """Figures on the uniform log, a gamma each; the model has defaults and has never learned from that log."""

    def read(name: str) -> list[prequential.Numbered]:
        return list(prequential.of_file(logs.read([folder / name], logs.Format.OPEN_BANDIT, logs.Columns())))

    catalog = Catalog()
    for item in logs.items([folder / "men_bts.csv.gz"], logs.Format.OPEN_BANDIT):
        catalog.put(item)
    machine, uniform = Partition(PartitionSettings(), Tables.over(), catalog), Ledger()
    rival = ComparedLearner(NAME, ModelSettings(), LearnerSettings(), "cpu", Ledger())
    judge = HoldoutRows(read("men_random.csv.gz"), machine, lambda batch: ask_gammas(NAME, rival.trainer, uniform, GAMMAS, batch), uniform)
    prequential.run(read("men_bts.csv.gz"), machine, rival.learner, closing=True, batches=stopping([judge]))
    judged = uniform.exposures()
    assert len(judged) == 10_000 and judged.labels[:, TASKS.index("full_play")].sum() == 46
    names, titles = [gamma_name(NAME, gamma) for gamma in GAMMAS], [f"gamma_item {gamma:g}" for gamma in GAMMAS]
    return measured(judged, Comparison(names, titles, top=TOP, fewest=10), [("uniform log", judged.shown_ms >= 0)], 1_000)[0]


def test_popularitys_part_taken_away_is_judged_on_what_chance_has_shown(data_dir: Path) -> None:
    torch.set_num_threads(1)
    rows = curve(data_dir / "open-bandit")
    for row in rows:
        figures = (("AUC", row.auc, row.auc_more), ("GAUC", row.gauc, row.gauc_more), (f"top {TOP:.0%}", row.top, row.top_more))
        print(f"{row.name:16}" + "   ".join(f"{name} {value:.4f} ({more})" for name, value, more in figures) + f"   {row.positives} clicks")
    plain, _, without = rows
    assert [row.name for row in rows] == ["gamma_item 0", "gamma_item 0.5", "gamma_item 1"]
    assert plain.auc_more.low == plain.auc_more.high == 0  # against itself
    assert all(row.positives == 46 and 0 < row.auc < 1 for row in rows)
    assert without.auc != plain.auc and without.auc_more.value == pytest.approx(without.auc - plain.auc)
    assert without.auc_more.high > 0  # taking popularity's part away is not surely worse on what chance showed
