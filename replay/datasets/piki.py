"""Piki (Stoikov and Wen, 2021): `piki_dataset.csv`, songs that an app played one after the other, each rated at once. Sorted by time.

| column | event |
| --- | --- |
| user_id, song_id | user_id, item_id |
| timestamp (no zone; read as UTC) | ts |
| (the row is there) | action `impression`: every song of the log was played to its user |
| liked 1 | also `play`, `full` |
| liked 2 | also `play`, `full`, `collect` |
| liked 0 | also `dislike` |
| personalized | strategy: 0 = `random`, 1 and 2 = `personalized` |
| spotify_popularity | context `spotify_popularity` |

`domain` is `song`; event_id = hash of the line, which begins with a running number.
"""
from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogError, LogRow, line_id, lines
from streams.core.join.events import Action, Event

COLUMNS = ("id", "liked", "personalized", "song_id", "spotify_popularity", "timestamp", "user_id")
RATINGS = {"0": (Action.DISLIKE,), "1": (Action.PLAY,), "2": (Action.PLAY, Action.COLLECT)}
STRATEGIES = {"0": "random", "1": "personalized", "2": "personalized"}


def rows(path: Path) -> Iterator[LogRow]:
    """The rated songs of one file."""
    for number, line in lines(path):
        if number == 1:
            header = next(csv.reader([line.decode("utf-8-sig", "backslashreplace")]), [])
            if tuple(header) != COLUMNS:
                raise LogError(f"{path}:1: not a Piki log: expected the columns {', '.join(COLUMNS)}")
        elif line:
            event = _event(line)
            yield LogRow(number, msgspec.json.encode(event) if event else line, None)


def _event(line: bytes) -> Event | None:
    """The row as an event; None for one that can't be read."""
    try:
        _, liked, personalized, song, popularity, moment, user = next(csv.reader([line.decode()]))
        ts = int(datetime.datetime.fromisoformat(moment).replace(tzinfo=datetime.UTC).timestamp() * 1000)
        acts, strategy = RATINGS[liked], STRATEGIES[personalized]
        context: dict[str, str | int | float] = {"spotify_popularity": float(popularity)} if popularity else {}
    except (ValueError, KeyError):  # ValueError: also, not UTF-8
        return None
    return Event(
        event_id=line_id(line), ts=ts, user_id=user, item_id=song, action=Action.IMPRESSION, also=acts, domain="song", context=context,
        full=True if Action.PLAY in acts else None, strategy=strategy,
    )  # fmt: skip
