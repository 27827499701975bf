"""A log beyond memory is sorted in runs on disk: the same rows as sorted at once."""
from __future__ import annotations

import random

from replay.log_rows import LogRow
from replay.order import by_time


def test_runs_on_disk_give_the_rows_of_one_stable_sort() -> None:
    rng = random.Random(1)
    timed = [(rng.randrange(50), LogRow(n, b"\n\xff%d" % n, rng.choice((None, n)), "p" * (n % 2), "")) for n in range(1_000)]
    expected = [row for _, row in sorted(timed, key=lambda each: each[0])]  # Python's sort is stable
    assert list(by_time(timed, run_bytes=20_000)) == expected == list(by_time(timed))
