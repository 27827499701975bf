"""The naive orders against counts by full sorts, and against what is published of 30Music."""
from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from replay.evidence.yardsticks import MostPlayed, Successors
from streams.core.join import keys


def _key(item: str) -> int:
    return keys.key("item", item)


def naive(plays: Sequence[tuple[str, str]], k: int) -> Iterator[tuple[set[str], set[str], int, int]]:
    """For each play after another of its session, by full sorts: what is surely among the most played and the successors (ties may
    be either way), and how many these are."""
    last: dict[str, str] = {}
    for n, (session, item) in enumerate(plays):
        if session in last:
            played = Counter(i for _, i in plays[:n])
            before: dict[str, str] = {}
            after: Counter[str] = Counter()
            for s, i in plays[:n]:
                if before.get(s) == last[session]:
                    after[i] += 1
                before[s] = i
            tops = [sorted(c.items(), key=lambda pair: -pair[1]) for c in (played, after)]
            sure = [{i for i, count in top if len(top) <= k or count > top[k][1]} for top in tops]
            yield sure[0], sure[1], min(k, len(played)), min(k, len(after))
        last[session] = item


def test_yardsticks_are_the_naive_counts() -> None:
    rng = np.random.default_rng(2)
    log = [(f"s{rng.integers(5)}", f"i{int(rng.exponential(4))}") for _ in range(300)]
    most, successors, last, at = MostPlayed(4), Successors(4), dict[str, int](), 0
    expected = list(naive(log, 4))
    for session, item in log:
        key = _key(item)
        if session in last:
            sure_most, sure_after, n_most, n_after = expected[at]
            got_most, got_after = most.best(None), successors.best(last[session], None)
            assert {_key(i) for i in sure_most} <= set(got_most) and len(set(got_most)) == n_most
            assert {_key(i) for i in sure_after} <= set(got_after) and len(set(got_after)) == n_after
            successors.add(last[session], key, None)
            at += 1
        most.add(key, None)
        last[session] = key
    assert at == len(expected) > 250


@pytest.mark.prove
@pytest.mark.real_log
def test_yardsticks_find_what_the_readme_of_30music_says(data_dir: Path) -> None:
    """Its check of signal: next song in the session, hit@20 of 20 most played so far .020, of the last song's successors .318.

    The .020 is of counts of songs that came after another; with the first ones of sessions, which we count, too, it is .021.
    """
    most, of_next, successors, last = MostPlayed(20), MostPlayed(20), Successors(20), dict[str, int]()
    hits = np.zeros(3)
    predictions = 0
    with gzip.open(data_dir / "30music" / "sessions.csv.gz", "rt") as file:
        next(file)
        for line in file:
            session, _, song, _, _ = line.split(",")
            item = _key(song)
            before = last.get(session)
            if before is not None:
                predictions += 1
                hits += [item in most.best(None), item in of_next.best(None), item in successors.best(before, None)]
                of_next.add(item, None)
                successors.add(before, item, None)
            most.add(item, None)
            last[session] = item
    assert predictions == 152_749
    print("hit@20 of the most played, of the most played as next, of successors: " + ", ".join(f"{hit:.4f}" for hit in hits / predictions))
    assert np.round(hits / predictions, 3).tolist() == [0.021, 0.020, 0.318]
