from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from online_model import checkpoint
from online_model.features import TASKS
from online_model.metrics import Prequential
from streams.core.serving.surfaces import Variety
from streams.demo.listeners import Activity
from streams.demo.readings import Readings
from streams.demo.summary import Summary, figures, learned, lines
from streams.status import LearnerStatus, StrategyStatus, SurfaceStatus, WorkerStatus
from tests.paths import ROOT

REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


TABLES = [
    ("| field | meaning |", Summary), ("| field of a worker |", WorkerStatus), ("| field of the learner |", LearnerStatus),
    ("| field of `variety` |", Variety), ("| field of a surface |", SurfaceStatus),
    ("| field of a strategy's status |", StrategyStatus),
]  # fmt: skip


@pytest.mark.parametrize(("heading", "struct"), TABLES)
def test_every_field_is_documented_and_none_that_is_not_there(heading: str, struct: type) -> None:
    table = REFERENCE.split(f"\n{heading}")[1].split("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(getattr(struct, "__struct_encode_fields__"))  # noqa: B009


def test_a_run_that_heard_nothing_is_summed_up_without_figures() -> None:
    told = figures(Readings(), Activity(), None, 0.0, complete=False, start_seconds=1.0, lag=None, join_window_s=20.0, seed=1)
    assert (told.events, told.freshness_p50_ms, told.collect_rate, told.metrics, told.model_version) == (0, None, None, {}, 0)
    assert list(lines(told)) == [
        "0 events in 0 s (0/s) on 0 lists and 0 pages; 0 examples learned",
        "lag not asked; freshness p50 infinite, p99 infinite; 0 acts unlearned",
    ]


def test_lines_tell_people_what_came_of_it() -> None:
    skip: dict[str, float | None] = {"auc": 0.75, "ne": 0.9, "copc": 1.01, "n": 1_234.0}
    metrics: dict[str, dict[str, float | None]] = {"skip": skip, "share": {"auc": None, "n": 0.0}}
    activity = Activity(lists=10, pages=7, feedback=100, actions={"play": 50, "collect": 4, "dislike": 1})
    told = figures(Readings(), activity, metrics, 60.0, complete=True, start_seconds=1.0, lag=0, join_window_s=20.0, seed=1)
    told = msgspec.structs.replace(told, events=100, examples=90, freshness_p50_ms=150, freshness_p99_ms=1_200, rejected={"late": 2})
    one = StrategyStatus(rounds=41.6, propensity=0.314, experience=0.2, revenue=0.5, value=0.25, value_error=0.03, ess=30.0)
    none = msgspec.structs.replace(one, rounds=0.0, propensity=0.686, value=None, value_error=None)
    surfaces = {"page": SurfaceStatus(revenue_weight=0.25, strategies={"tail": one, "fixed": none})}
    seen = Variety(impressions=256, categories_per_user=3.25, overlap=0.0625, distinct_items=1_234, dislikes_per_1000_plays=4.0)
    few = Variety(impressions=1, categories_per_user=2.0, overlap=None, distinct_items=8, dislikes_per_1000_plays=None)
    told = msgspec.structs.replace(told, surfaces=surfaces, variety={"page": {"all": seen, "tail": few}})
    assert list(lines(told)) == [
        "100 events in 60 s (0/s) on 10 lists and 7 pages; 90 examples learned",
        "lag 0; freshness p50 150 ms, p99 1,200 ms; 0 acts unlearned",
        "skip       auc 0.7500  ne 0.9000  copc 1.0100  n 1,234",
        "share        n 0",
        "pages by strategy; revenue weighs 0.25 against experience's 1",
        "tail            rounds 42  chance 31.4%  experience 0.200  revenue 0.500  this hour 0.250 ± 0.030",
        "fixed           rounds 0  chance 68.6%  experience 0.200  revenue 0.500  this hour –",
        "pages as listeners saw them; of each strategy the last ones",
        "all             shown 256  distinct items 1,234  categories per user 3.25  overlap 0.062  dislikes per 1,000 plays 4.0",
        "tail            shown 1  distinct items 8  categories per user 2.00",
        "collect rate 8.0%; 20.0 dislikes per 1,000 plays",
        "rejected: late 2",
    ]


def test_figures_of_a_whole_run_are_those_of_the_learners_newest_checkpoint(tmp_path: Path) -> None:
    """Two users, two exposures each, told apart without fault: AUC and GAUC are 1; where both labels are missing, nothing is."""
    metrics = Prequential()
    logits = np.full((4, len(TASKS)), -1.0, np.float32)
    labels = np.zeros((4, len(TASKS)), np.float32)
    logits[1::2, 0], labels[1::2, 0] = 1.0, 1.0
    metrics.score(1_000, np.array([1, 1, 2, 2], np.uint64), logits, 1 / (1 + np.exp(-logits)), labels)
    arrays = {f"metrics.{name}": array for name, array in metrics.arrays().items()}
    checkpoint.save(tmp_path, checkpoint.name_of(0, 1), arrays, {"metrics": metrics.meta()})
    told = learned(tmp_path)
    first, other = told[TASKS[0]], told[TASKS[1]]
    assert (first["auc"], first["gauc"], first["n"], first["positives"]) == (1.0, 1.0, 4.0, 2.0)
    assert (other["auc"], other["n"]) == (None, 4.0)
    assert learned(tmp_path / "nothing") == {}
