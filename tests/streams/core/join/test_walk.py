"""The walk of one event through `Partition.apply`: how many files a reader visits, in which order."""
from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from types import FrameType

import streams.core.join
import streams.core.learning
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Event, ExposedItem, Exposure
from streams.core.join.items import Item
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.state.tables import Tables

ROOMS = [str(Path(room.__file__ or "").parent) for room in (streams.core.join, streams.core.learning)]
START = 1_700_000_000_000


def walk(partition: Partition, arrived: Arrived) -> list[str]:
    """Files of the two rooms in the order in which calls enter them; calls within a file count once.

    Tables and rows (`streams/core/state/`, the catalog's dict) and the arithmetic of `online_model` are the ground that the
    walk goes over, not stations of it.
    """
    stations: list[str] = []

    def profile(frame: FrameType, event: str, argument: object) -> None:
        path = frame.f_code.co_filename
        if event == "call" and any(path.startswith(room) for room in ROOMS):
            stations.append(Path(path).name)

    sys.setprofile(profile)
    try:
        partition.apply([arrived])
    finally:
        sys.setprofile(None)
    return [name for name, _ in groupby(stations)]


def test_a_play_that_joins_its_exposure_enters_six_files_and_returns_to_none() -> None:
    catalog = Catalog()
    catalog.put(Item(item_id="i", artist_id="a", categories=("c",), domain="song"))
    partition = Partition(PartitionSettings(), Tables.over(), catalog)
    slate = Exposure(
        ts=START, user_id="u", request_id="r", slots=(ExposedItem(item_id="i", position=0), ExposedItem(item_id="j", position=1))
    )
    other = Event(ts=START + 30_000, user_id="u", item_id="j", action=Action.PLAY, full=True, request_id="r")
    play = Event(ts=START + 90_000, user_id="u", item_id="i", action=Action.PLAY, full=True, request_id="r")
    partition.apply([Arrived(0, 0, slate.ts, slate, "x"), Arrived(1, 0, other.ts, other, "o")])
    stations = walk(partition, Arrived(2, 0, play.ts, play, "e"))
    assert stations == ["partition.py", "admission.py", "labels.py", "join.py", "state_update.py", "co_listening.py"]
    assert partition.progress.counted.get("unjoined", 0) == 0
    assert partition.apply([Arrived(3, 0, play.ts, play, "e")]).dead  # it was admitted once
