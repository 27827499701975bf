"""How active a user is and where: acts as they fade, by hand."""
from __future__ import annotations

import pytest

from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import HOUR_MS, PartitionSettings
from streams.core.join.state import Tables, UserState
from streams.core.serving.requests import activity_and_domain

START = 1_700_000_000_000
WEEK = 168 * HOUR_MS


def of(*acts: tuple[int, str, str | None]) -> Partition:
    """(Hour, action, domain) of one user, each with another item."""
    partition = Partition(PartitionSettings(), Tables.over(), Catalog())
    records = [
        Event(ts=START + hour * HOUR_MS, user_id="u", item_id=f"i{n}", action=Action(action), domain=domain, full=True)
        for n, (hour, action, domain) in enumerate(acts)
    ]
    partition.apply([Arrived(n, 0, r.ts, r, f"{n}") for n, r in enumerate(records)])
    return partition


def activity(partition: Partition, ts: int) -> tuple[float, int]:
    user = partition.user(keys.key("user", "u"))
    assert user is not None
    return activity_and_domain(user, partition.view, ts)


def test_acts_count_and_fade_and_what_was_only_shown_does_not() -> None:
    assert activity_and_domain(UserState(), of().view, START) == (0.0, 0)
    partition = of((0, "play", "song"), (0, "collect", "song"), (0, "impression", "song"), (0, "skip", "video"))
    assert activity(partition, START) == (pytest.approx(3.0), keys.key("domain", "song"))
    assert activity(partition, START + WEEK)[0] == pytest.approx(1.5)  # a half-life


def test_the_domain_is_where_most_acts_are_now() -> None:
    song, video = keys.key("domain", "song"), keys.key("domain", "video")
    acts = [(0, "play", "song")] * 3 + [(0, "impression", "video")] * 9 + [(168, "skip", "video")] * 2
    assert activity(of(*acts[:12]), START)[1] == song
    assert activity(of(*acts), START + WEEK)[1] == video  # 2 of today, 3 of a week ago count 1.5
    assert activity(of((0, "impression", "song"), (0, "impression", "video"), (0, "impression", "video")), START)[1] == video
    assert activity(of((0, "skip", "video"), (0, "skip", "song")), START)[1] == song  # as many: the one changed last
    assert activity(of((0, "skip", None)), START)[1] == 0  # of an item whose domain nobody knows
