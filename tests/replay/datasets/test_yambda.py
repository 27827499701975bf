"""Listens, likes, dislikes and their undoing, in one file and in several; polars reads the same tables."""
from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars
import pytest

from replay.datasets import yambda
from replay.log_rows import LogError
from tests.replay.datasets.sample import SAMPLES, read

TABLE = polars.read_csv(SAMPLES / "yambda.csv")
ACTIONS = {"listen": "play", "like": "collect", "unlike": "uncollect", "dislike": "dislike"}


def test_sample_gives_what_polars_counts(tmp_path: Path) -> None:
    log = tmp_path / "multi_event.parquet"
    TABLE.write_parquet(log)
    good = TABLE.filter(polars.col("item_id").is_not_null() & (polars.col("event_type") != "undislike"))
    first, last = (yambda.START_MS + 1000 * seconds for seconds in (good["timestamp"].min(), good["timestamp"].max()))
    found = read("yambda", log)
    assert found.counts == (len(good), good["uid"].n_unique(), good["item_id"].n_unique(), 1, first, last)
    assert found.rejected == {"wrong_type": 1} and found.left_out == {"undislike, for which there is no action": 1}
    assert found.actions() == Counter(ACTIONS[kind] for kind in good["event_type"])
    known = good.filter(polars.col("played_ratio_pct").is_not_null() & polars.col("track_length_seconds").is_not_null())
    played = sorted(round(10 * p * s) for p, s in known.select("played_ratio_pct", "track_length_seconds").iter_rows())
    assert sorted(event.played_ms for event in found.events if event.played_ms is not None) == played


def test_files_of_one_kind_each_are_the_same_log(tmp_path: Path) -> None:
    whole = tmp_path / "multi_event.parquet"
    TABLE.write_parquet(whole)
    for kind in (*ACTIONS, "undislike"):
        TABLE.filter(polars.col("event_type") == kind).drop("event_type").write_parquet(tmp_path / f"{kind}s.parquet")
    each = read("yambda", *(tmp_path / f"{kind}s.parquet" for kind in (*ACTIONS, "undislike")))
    one = read("yambda", whole)
    assert each.counts == one.counts and each.actions() == one.actions() and each.rejected == one.rejected


def test_other_tables_are_refused_with_what_they_lack(tmp_path: Path) -> None:
    log = tmp_path / "embeddings.parquet"
    TABLE.select("item_id").write_parquet(log)
    with pytest.raises(LogError, match=r"embeddings\.parquet: not a file of Yambda.*no column uid, timestamp, event_type"):
        list(yambda.rows(log))
