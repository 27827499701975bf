"""Views, carts and transactions of a shop, in no order."""
from __future__ import annotations

import csv

import pytest

from replay.datasets import retailrocket
from replay.log_rows import LogError
from tests.replay.datasets.sample import SAMPLES, read

LOG = SAMPLES / "retailrocket.csv"
ACTIONS = {"view": "play", "addtocart": "collect", "transaction": "share"}


def test_sample_gives_what_csv_counts() -> None:
    with LOG.open(newline="") as file:
        rows = list(csv.DictReader(file))
    good = {tuple(row.values()) for row in rows if row["transactionid"] is not None and row["event"] in ACTIONS}
    times = [int(row[0]) for row in good]
    found = read("retailrocket", LOG)
    assert len(rows) == 20
    assert found.counts == (len(good), len({row[1] for row in good}), len({row[3] for row in good}), 20 - len(good), min(times), max(times))
    assert found.rejected == {"duplicate": 1, "wrong_type": 2}  # twice the same; a removal, and a row that is cut off
    assert found.actions() == {act: sum(ACTIONS[row[2]] == act for row in good) for act in ACTIONS.values()}


def test_another_log_is_refused_by_name() -> None:
    with pytest.raises(LogError, match=r"piki\.csv:1: not RetailRocket's events\.csv"):
        list(retailrocket.rows(SAMPLES / "piki.csv"))
