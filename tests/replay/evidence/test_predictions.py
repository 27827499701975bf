"""The file of predictions: its rows against the figures of the run, by scikit-learn, and against the log, by a reader of its own.

list of 4 at t ── play, skip, dislike within 90 s ── collect at t + 5 min, or (too late for the figures) at t + 20 min
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from online_model.features import TASKS
from online_model.model_settings import ModelSettings
from online_model.tally import BINS, LOGIT_RANGE
from replay import assembly, prequential
from replay.assembly import Outcome, Source
from replay.evidence import predictions
from replay.log_rows import LogError, LogRow
from replay.negatives import Negatives
from replay.options import CoreSettings, ReplayOptions
from replay.prequential import Numbered
from streams.core.join.settings import PartitionSettings
from streams.core.learning.learn import LearnerSettings

LINEAR = ModelSettings(deep=False, causal=False, pairs=0.0)
T = 1_704_067_200_000
MINUTE = 60_000
CORE = CoreSettings(model=LINEAR, learner=LearnerSettings(micro_batch_span_ms=10 * MINUTE))
WINDOW = PartitionSettings().join_window_ms


def lists(n: int) -> list[dict[str, Any]]:
    """So many lists, one every 2 minutes, with their acts in rows of their own, by time; between them acts that expose and act in one."""
    rng = np.random.default_rng(7)
    rows: list[dict[str, Any]] = []
    for k in range(n):
        at, user = T + k * 2 * MINUTE, f"user {k % 9}"
        items = [f"item {i}" for i in rng.choice(12, 4, replace=False)]
        slots = [{"item_id": item, "position": place} for place, item in enumerate(items)]
        rows.append({"kind": "exposure", "ts": at, "user_id": user, "request_id": f"r{k}", "slots": slots, "seen": k % 8 != 0})
        for place, item in enumerate(items):
            of = {"user_id": user, "item_id": item, "request_id": f"r{k}"}
            draw = int(rng.integers(0, 6)) if rng.random() < 0.9 else (k + place) % 6
            if draw < 4:
                act = [{"action": "play", "full": True}, {"action": "skip"}, {"action": "play", "full": False}, {"action": "dislike"}][draw]
                rows.append(of | act | {"ts": at + 20_000 * (1 + place), "event_id": f"a{k}-{place}"})
            if draw in (0, 2) and rng.random() < 0.5:
                late = {"action": "collect", "ts": at + (5 if rng.random() < 0.6 else 20) * MINUTE, "event_id": f"c{k}-{place}"}
                rows.append(of | late)
        rows.append(
            {"ts": at + 95_000, "user_id": user, "item_id": "alone", "action": "impression", "also": ["skip"], "event_id": f"s{k}"}
        )
    return sorted(rows, key=lambda row: row["ts"])


LOG = lists(60)
LINES = [msgspec.json.encode(row) for row in LOG]
LINES[40:40] = [LINES[39], b"{"]  # an event twice, and a row that is none


def arrivals() -> Iterator[Numbered]:
    return prequential.of_file(LogRow(number, line, None) for number, line in enumerate(LINES, 1))


def replayed(file: Path, source: Source | None = None, **options: Any) -> Outcome:
    wanted = ReplayOptions(predictions=file, as_live=True, **options)
    return assembly.replay(source or Source(arrivals), CORE, wanted, lambda rows, ts: None)


def labels() -> dict[tuple[str, str, str | None, int], set[str]]:
    """By user, item, request and time: the labels of every exposure of the log that somebody has seen, as its window closes."""
    acts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in LOG:
        if "request_id" in row and "action" in row:
            acts.setdefault((row["request_id"], row["item_id"]), []).append(row)
    out: dict[tuple[str, str, str | None, int], set[str]] = {}
    for row in LOG:
        if "action" in row:
            if row["action"] == "impression":
                out[row["user_id"], row["item_id"], None, row["ts"]] = {"skip"}
            continue
        seen = row["seen"]
        for slot in reversed(row["slots"]):  # what stands above an act was seen as well
            own = [act for act in acts.get((row["request_id"], slot["item_id"]), ()) if act["ts"] <= row["ts"] + WINDOW]
            seen = seen or bool(own)
            names = {"full_play" if act.get("full") else act["action"] for act in own}
            if seen:
                out[row["user_id"], slot["item_id"], row["request_id"], row["ts"]] = names & set(TASKS)
    return out


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Outcome]:
    file = tmp_path_factory.mktemp("predictions") / "rows.parquet"
    return file, replayed(file)


def test_the_figures_of_a_run_are_those_of_the_rows_by_scikit_learn(run: tuple[Path, Outcome]) -> None:
    file, outcome = run
    rows, result = pl.read_parquet(file), outcome.result
    assert len(rows) == result.counted["scored"] == result.examples == len(labels())
    assert outcome.document()["predictions"] == {"file": str(file), "rows": len(rows)}
    told = 0
    for task in TASKS:
        y, p, z = (rows[f"{task}{column}"].to_numpy().astype(float) for column in ("", "_probability", "_logit"))
        figures = result.metrics[task]
        assert (figures.n, figures.positives) == (len(y), y.sum())
        if 0 < y.sum() < len(y):
            told += 1
            places = np.floor((z + LOGIT_RANGE) * (BINS / (2 * LOGIT_RANGE)))  # as documented: AUC is read from bins of the logit
            loss, base = log_loss(y, p), log_loss(y, np.full(len(y), y.mean()))
            assert figures.auc == pytest.approx(roc_auc_score(y, places), abs=1e-9)
            assert figures.auc == pytest.approx(roc_auc_score(y, z), abs=1e-3)
            assert (figures.logloss, figures.ne) == pytest.approx((loss, loss / base), abs=1e-9)
    assert told == 4  # nobody shares


def test_labels_names_and_times_of_the_rows_are_the_logs_own(run: tuple[Path, Outcome]) -> None:
    rows = pl.read_parquet(run[0])
    assert rows.schema["time"] == pl.Datetime("ms", "UTC") and not rows["drawn"].any() and (rows["weight"] == 1).all()
    found = {
        (row["user"], row["item"], row["request"], int(row["time"].timestamp() * 1000)): {task for task in TASKS if row[task]}
        for row in rows.iter_rows(named=True)
    }
    assert found == labels()


def test_the_same_log_gives_the_same_bytes_and_row_groups_are_bounded(
    run: tuple[Path, Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == run[0].read_bytes()
    monkeypatch.setattr(predictions, "GROUP", 100)
    monkeypatch.setattr(prequential, "BATCH", 7)
    replayed(tmp_path / "groups")
    whole = pl.read_parquet(run[0])
    assert pl.read_parquet(tmp_path / "groups").equals(whole)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["again", "groups"]


def test_what_was_drawn_is_marked_and_what_was_taken_is_not(tmp_path: Path) -> None:
    plays = [
        {"ts": T + n * MINUTE, "user_id": f"u{n % 5}", "item_id": f"i{n * n % 23}", "action": "play", "event_id": f"e{n}"}
        for n in range(90)
    ]
    drawing = Negatives(3)

    def drawn() -> Iterator[Numbered]:
        return prequential.of_file(drawing.rows(LogRow(n, json.dumps(row).encode(), None) for n, row in enumerate(plays, 1)))

    outcome = replayed(tmp_path / "file", Source(drawn), next_k=5, next_every=10)
    rows = pl.read_parquet(tmp_path / "file")
    assert rows["drawn"].sum() == outcome.result.drawn > 50
    taken = {(row["user_id"], row["item_id"], row["ts"]) for row in plays}
    for row in rows.iter_rows(named=True):
        assert ((row["user"], row["item"], int(row["time"].timestamp() * 1000)) in taken) != row["drawn"]
        assert row["full_play"] == (not row["drawn"])


def test_a_replay_that_is_interrupted_leaves_what_was_there(tmp_path: Path) -> None:
    def interrupted(rows: int, ts: int) -> None:
        raise KeyboardInterrupt

    file = tmp_path / "rows.parquet"
    file.write_text("of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        assembly.replay(Source(arrivals), CORE, ReplayOptions(predictions=file), interrupted)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("rows.parquet", "of an earlier run")]
    with pytest.raises(LogError, match="there is no folder"):
        replayed(tmp_path / "nowhere" / "rows.parquet")


def test_a_log_without_exposures_that_count_gives_a_file_without_rows(tmp_path: Path) -> None:
    replayed(tmp_path / "file", Source(lambda: iter(())))
    assert pl.read_parquet(tmp_path / "file").schema == predictions.SCHEMA
