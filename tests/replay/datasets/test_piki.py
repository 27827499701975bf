"""Songs that an app played and its users rated: every row was exposed."""
from __future__ import annotations

import csv
import datetime
from collections import Counter
from pathlib import Path

import pytest

from replay.datasets import piki
from replay.log_rows import LogError
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "piki.csv"


def test_sample_gives_what_csv_counts() -> None:
    with LOG.open(newline="") as file:
        rows = list(csv.DictReader(file))
    good = [row for row in rows if row["liked"] in "012" and row["personalized"] in "012" and row["timestamp"].startswith("2019")]
    times = [round(datetime.datetime.fromisoformat(row["timestamp"] + "Z").timestamp() * 1000) for row in good]
    found = read("piki", LOG)
    users, songs = {row["user_id"] for row in good}, {row["song_id"] for row in good}
    assert len(rows) == 20 and found.counts == (len(good), len(users), len(songs), 20 - len(good), min(times), max(times))
    liked = Counter(row["liked"] for row in good)
    acts = {"impression": len(good), "play": liked["1"] + liked["2"], "collect": liked["2"], "dislike": liked["0"]}
    assert found.actions() == acts
    assert Counter(event.strategy for event in found.events)["random"] == sum(row["personalized"] == "0" for row in good)


def test_another_log_is_refused_by_name() -> None:
    with pytest.raises(LogError, match=r"taobao\.csv:1: not a Piki log"):
        list(piki.rows(SAMPLES / "taobao.csv"))


@pytest.mark.real_log
@pytest.mark.prove
def test_public_sample_has_as_many_ratings_as_its_readme_says(data_dir: Path) -> None:
    found = read("piki", data_dir / "piki" / "piki_dataset.csv")
    assert found.counts[:4] == (500, 47, 337, 0)
    assert (found.actions()["dislike"], found.actions()["play"]) == (282, 218)
