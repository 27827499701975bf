"""One listener who plays one song all day is one listener: what is popular, and what is learned of others, hardly moves."""
from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np

from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.state.tables import Tables

START, DAY_MS = 1_700_000_000_000, 86_400_000
LISTENERS, PLAYS, SONGS, TIMES = 200, 20, 100, 5_000
SONG = "s7"  # one that the others don't play much


def day(times: int) -> list[Event]:
    """Listeners play songs, of which each half of them likes one half; one more plays the same song so many times."""
    rng = np.random.default_rng(17)
    rows = []
    for user, song, at in zip(
        np.repeat(np.arange(LISTENERS), PLAYS), rng.integers(SONGS, size=LISTENERS * PLAYS), rng.integers(DAY_MS, size=LISTENERS * PLAYS),
        strict=True,
    ):  # fmt: skip
        liked = rng.random() < (0.8 if (user + song) % 2 == 0 else 0.3)
        rows.append((int(at), f"u{user}", f"s{song}", Action.PLAY if liked else Action.SKIP))
    rows += [(n * DAY_MS // times, "one", SONG, Action.PLAY) for n in range(times)]
    return [
        Event(ts=START + at, user_id=user, item_id=song, action=act, full=True if act is Action.PLAY else None, event_id=f"e{n}")
        for n, (at, user, song, act) in enumerate(sorted(rows, key=lambda row: row[0]))
    ]


def popular(settings: PartitionSettings) -> list[str]:
    """Songs by popularity as lists see it, after a day of all of them."""
    partition, index = Partition(settings, Tables.over(), Catalog()), CatalogIndex()
    for n in range(SONGS):
        index.add_uncatalogued(f"s{n}")
    for increment in partition.apply([Arrived(n, 0, e.ts, e, e.event_id or "") for n, e in enumerate(day(TIMES))]).popularity:
        index.add(increment)
    index.advance(START + DAY_MS)
    return [index.name(key) or "" for key in islice(index.of_domain(None).popular(), 10)]


def test_a_song_that_one_plays_5000_times_in_a_day_is_not_among_the_ten_most_popular() -> None:
    assert popular(PartitionSettings(repeat_limit=1e18))[0] == SONG  # where each repeat counts whole
    plays = Counter(event.item_id for event in day(TIMES) if event.action is Action.PLAY and event.user_id != "one")
    most = {song for song, _ in plays.most_common(25)}
    assert SONG not in most
    found = popular(PartitionSettings())
    assert SONG not in found
    assert set(found) <= most
