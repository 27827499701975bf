"""A log through the core: what is counted, what closes, and that the digest sees every event."""
from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from online_model.features import TASKS
from online_model.metrics import WIDTHS_MS
from online_model.tally import BINS, LOGIT_RANGE, TaskMetrics
from online_model.trainer import ModelSettings, Trainer
from replay import prequential, report
from replay.log_rows import LogRow
from replay.prequential import Result, auc_error
from streams.core.join.catalog import Catalog
from streams.core.join.partition import Partition
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import Learner, LearnerSettings
from streams.core.serving.surfaces import default_strategy_bandit
from streams.core.state.tables import Tables
from streams.settings import Value

SMALL = ModelSettings(embedding_dim=4, attention_units=4, expert_units=8, tower_units=4)
T = 1_704_067_200_000


def event(n: int, action: str = "impression", **fields: object) -> bytes:
    record = {"event_id": f"e{n}", "ts": T + n * 1000, "user_id": f"u{n % 3}", "item_id": f"i{n % 5}", "action": action}
    return msgspec.json.encode(record | fields)


def rows(*raw: bytes) -> list[LogRow]:
    return [LogRow(line, r, None) for line, r in enumerate(raw, 1)]


def machines(learning: LearnerSettings | None = None) -> tuple[Partition, Learner]:
    learner = Learner(learning or LearnerSettings(), Trainer(SMALL), default_strategy_bandit())
    return Partition(PartitionSettings(), Tables.over(), Catalog()), learner


def run(log: list[LogRow]) -> Result:
    return prequential.run(prequential.of_file(log), *machines(), closing=True)


LOG = [event(n, also=["play"] if n % 2 else ["skip"], full=n % 4 == 1) for n in range(40)]


def test_every_row_is_an_event_or_is_rejected_with_its_line() -> None:
    bad = [b"not json", event(1), event(50, action="click"), event(51, ts="soon")]
    result = run(rows(*LOG, *bad))
    assert result.rows == 44 and result.events == 40
    assert result.rejected == {"malformed": 1, "unknown_action": 1, "wrong_type": 1} and result.merged == {"duplicate": 1}
    places = [(r.line, r.reason) for r in result.rejections]
    assert places == [(41, "malformed"), (42, "duplicate"), (43, "unknown_action"), (44, "wrong_type")]


def test_every_exposure_is_scored_once_with_the_labels_of_the_log() -> None:
    result = run(rows(*LOG))
    assert result.examples == 40
    positives = {task: (m.n, m.positives) for task, m in result.metrics.items()}
    assert positives == {"full_play": (40, 10), "skip": (40, 20), "collect": (40, 0), "share": (40, 0), "dislike": (40, 0)}
    for width in WIDTHS_MS:
        assert sum(m.tasks["skip"].n for m in result.windows if m.width_ms == width) == 40


def test_closing_tick_closes_what_is_open_and_nothing_else_does() -> None:
    # 0 s shown … log ends; the join window (10 min) never passes
    log = rows(event(0))
    assert run(log).metrics["skip"].n == 1
    left_open = prequential.run(prequential.of_file(log), *machines(), closing=False)
    assert left_open.metrics["skip"].n == 0


def test_progress_is_reported_at_every_batch_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prequential, "BATCH", 16)
    calls: list[tuple[int, int]] = []
    records = list(prequential.of_file(rows(*LOG)))
    assert list(prequential.reported(records, lambda *call: calls.append(call))) == records
    assert calls == [(16, T + 15_000), (32, T + 31_000), (40, -1)]


def test_same_log_same_digest_and_any_change_another() -> None:
    digest = run(rows(*LOG)).digest
    assert run(rows(*LOG)).digest == digest
    dropped, doubled = LOG[:20] + LOG[21:], [*LOG[:20], LOG[20].replace(b'"e20"', b'"again"'), *LOG[20:]]
    swapped = [*LOG[:20], LOG[21], LOG[20], *LOG[22:]]
    others = [run(rows(*log)).digest for log in (dropped, doubled, swapped)]
    assert digest not in others and len(set(others)) == 3


def test_log_without_exposures_says_so() -> None:
    notes = run(rows(*[event(n, action="play") for n in range(5)])).notes
    assert any(note.startswith("This log has no exposures") for note in notes)
    assert not any("no exposures" in note for note in run(rows(*LOG)).notes)


def test_a_log_of_acts_far_apart_says_what_its_small_steps_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prequential, "FEW_EXAMPLES", 30)
    said = [note for note in run(rows(*LOG)).notes if "held 1.0 examples" in note and "Without --as-live" in note]
    assert len(said) == 1  # acts are a second apart
    slow = machines(LearnerSettings(micro_batch_span_ms=60_000))
    at_once = prequential.run(prequential.of_file(rows(*LOG)), *slow, closing=True)
    assert not any("held" in note for note in at_once.notes)


def test_json_has_what_the_command_line_promises() -> None:
    told = msgspec.json.decode(msgspec.json.encode(run(rows(*LOG))))
    assert {"rows", "events", "examples", "rejected", "seconds", "metrics", "digest"} <= set(told)
    assert {"auc", "gauc", "logloss", "ne", "copc", "n", "positives"} <= set(told["metrics"]["skip"])
    assert told["metrics"]["share"]["auc"] is None  # undefined without positives


def test_standard_error_of_an_auc() -> None:
    # At AUC .5 it is Mann and Whitney's null variance, (p + n + 1) / (12 p n): 21 / 1200 for 10 and 10.
    figures = TaskMetrics(n=20, positives=10, auc=0.5, logloss=0, ne=0, rig=0, copc=1, ece=0)
    assert auc_error(figures) == pytest.approx((21 / 1200) ** 0.5, rel=1e-12)
    assert np.isnan(auc_error(msgspec.structs.replace(figures, positives=0)))


def test_calibration_curve_of_two_known_groups() -> None:
    # 100 rows predicted .2 of which 30 positive, 100 predicted .6 of which 50: two points
    histogram = np.zeros((3, BINS))
    for p, positive in ((0.2, 30), (0.6, 50)):
        at = int((np.log(p / (1 - p)) + LOGIT_RANGE) * BINS / (2 * LOGIT_RANGE))
        histogram[:, at] = (100 - positive, positive, 100 * p)
    predicted, observed, mass = report.curve(histogram)
    assert predicted.tolist() == pytest.approx([0.2, 0.6]) and observed.tolist() == [0.3, 0.5] and mass.tolist() == [100, 100]


def test_report_is_one_page_that_needs_nothing_else(tmp_path: Path) -> None:
    partition, learner = machines()
    result = prequential.run(prequential.of_file(rows(*LOG, b"bad <row>")), partition, learner, closing=True)
    settings = [Value("a.b", 1, "default"), Value("a.c", 2, "--set a.c=2")]
    page = report.write(tmp_path / "r", result, learner.metrics.arrays()["total.histogram"], settings, "plays <1>.csv")
    text = page.read_text()
    assert "http://" not in text and "https://" not in text and "<script" not in text
    assert "plays &lt;1&gt;.csv" in text and result.digest in text and "1 changed from the defaults" in text
    assert all(task in text for task in TASKS) and text.count("data:image/png;base64,") >= 2
    told = msgspec.json.decode((tmp_path / "r" / "result.json").read_bytes())
    assert told["result"]["digest"] == result.digest and told["settings"]["a.c"] == {"value": 2, "source": "--set a.c=2"}


def test_every_row_is_an_event_rejected_merged_or_left_out_and_the_first_of_each_is_named() -> None:
    made = [*rows(*LOG, event(1), b"not json"), LogRow(92, b"a,b,c", None, problem="3 cells where the header has 2")]
    reasons = ("merged: another file", "left out: a podcast", "left out: a podcast")
    made += [LogRow(line, b"", None, omitted=reason) for line, reason in enumerate(reasons, 90)]
    omissions = prequential.Omissions()
    arrivals = prequential.of_file(made, omissions=omissions)
    result = prequential.with_omissions(prequential.run(arrivals, *machines(), closing=True), omissions)
    parts = (result.rejected, result.merged, result.left_out)
    assert parts == ({"malformed": 2}, {"duplicate": 1, "another file": 1}, {"a podcast": 2})
    assert result.rows == len(made) == result.events + sum(sum(part.values()) for part in parts)
    text = "\n".join(report.account(result))
    assert f"{len(made)} rows = {result.events} events + 2 rejected + 2 merged + 2 left out" in text
    assert "left out: a podcast 2; first in line 91" in text and "merged: another file 1; first in line 90" in text
    assert report.refusal(result) is None
    mostly = msgspec.structs.replace(result, rejected={"malformed": result.rows})
    assert str(report.refusal(mostly)).startswith(f"{result.rows} of {result.rows - 2} rows were rejected; the first in line ")
