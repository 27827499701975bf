"""Four behaviours of a shop, without a header; the log names the category of each item."""
from __future__ import annotations

import csv
from pathlib import Path

import pytest

from replay.datasets import taobao
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "taobao.csv"
ACTIONS = {"pv": "play", "fav": "collect", "cart": "collect", "buy": "share"}


def test_sample_gives_what_csv_counts() -> None:
    with LOG.open(newline="") as file:
        rows = list(csv.reader(file))
    good = [row for row in rows if len(row) == 5 and row[3] in ACTIONS]
    times = [int(row[4]) * 1000 for row in good]
    found = read("taobao", LOG)
    assert len(rows) == 20 and len(good) == 18
    assert found.counts == (18, len({row[0] for row in good}), len({row[1] for row in good}), 2, min(times), max(times))
    assert found.actions() == {act: sum(ACTIONS[row[3]] == act for row in good) for act in ("play", "collect", "share")}
    first = {row[1]: row[2] for row in sorted(good, key=lambda row: -int(row[4]))}
    assert {item.item_id: item.categories for item in taobao.items([LOG])} == {item: (category,) for item, category in first.items()}


@pytest.mark.real_log
@pytest.mark.prove
def test_public_log_has_as_many_acts_as_its_readme_says(data_dir: Path) -> None:
    found = read("taobao", data_dir / "taobao" / "UserBehavior.csv.gz")
    acts, exact = found.actions(), found.rejected["duplicate"]
    assert acts.total() + exact == 96_168 and found.counts[1:3] == (58_732, 75_384)  # its README counts one item more than are in the file
    assert acts["share"] <= 2_144 and acts["collect"] <= 5_292 + 2_959
