"""A filled store holds what it says, and takes events in at a rate that is set against that of an empty one."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.store_size import FilledStore, figure
from streams.core.join.admission import SEEN


def test_a_filled_store_holds_its_ids_and_users_and_as_many_expire_as_come(tmp_path: Path) -> None:
    filled = FilledStore(tmp_path / "p", 3_000, 1_000, np.random.default_rng(1))
    source = filled._store.source
    assert sum(key[:1] == SEEN for key, _ in source("dedupe").items()) == 4_000
    assert sum(1 for _ in source("users").items()) == 1_000
    assert filled.fold(0, 1_000) > 0
    assert sum(1 for _ in source("users").items()) == 1_000  # all were known
    assert sum(key[:1] == SEEN for key, _ in source("dedupe").items()) == 5_000  # a minute has not passed yet
    filled.close()


def test_the_interval_of_a_ratio_holds_the_ratio(tmp_path: Path) -> None:
    found = figure(2_000, tmp_path, 3, 500)
    assert found.interval is not None and found.interval[0] < found.ratio < found.interval[1]
    assert found.what == "ingest over 2,000 ids and 1,500 users"
