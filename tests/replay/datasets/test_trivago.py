"""A clickout is a list and what was taken of it; a look is a play of a lower grade; steps without a hotel are left out."""
from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from replay.datasets import trivago
from replay.log_rows import LogError
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "trivago.csv"


def test_sample_gives_what_csv_counts() -> None:
    with LOG.open(newline="") as file:
        rows = list(csv.DictReader(file))
    good = [row for row in rows if row["timestamp"].isdigit() and row["reference"].isdigit()]
    times = [int(row["timestamp"]) * 1000 for row in good]
    found = read("trivago", LOG)
    users, items = {row["user_id"] for row in good}, {row["reference"] for row in good}
    assert len(rows) == 20 and found.counts == (len(good), len(users), len(items), 2, min(times), max(times))
    assert len(good) + found.left_out.total() + 2 == 20 and "filter selection, which names no hotel" in found.left_out
    clickouts = [row for row in good if row["action_type"] == "clickout item"]
    assert found.actions() == {"collect": len(clickouts), "play": len(good) - len(clickouts)}
    slots = Counter(slot.position for exposure in found.exposures for slot in exposure.slots)
    assert slots == Counter(place for row in clickouts for place, _ in enumerate(row["impressions"].split("|")))
    assert {event.domain for event in found.events} == {"BR", "FR"}


def test_another_log_is_refused_by_name() -> None:
    with pytest.raises(LogError, match=r"piki\.csv:1: not a Trivago log: no column session_id"):
        list(trivago.rows(SAMPLES / "piki.csv"))


@pytest.mark.real_log
@pytest.mark.prove
def test_public_log_has_as_many_impressions_as_its_readme_says(data_dir: Path) -> None:
    found = read("trivago", data_dir / "trivago" / "validation_100k.csv.gz")
    slots = Counter(slot.position for exposure in found.exposures for slot in exposure.slots)
    assert slots.total() == 312_539 and max(slots) == 24
    assert found.actions()["collect"] == 13_597
