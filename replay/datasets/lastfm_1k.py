"""Last.fm 1K (Celma, "Music Recommendation and Discovery", Springer 2010): `userid-timestamp-artid-artname-traid-traname.tsv`, and exports
of its shape. Tab separated, no header, quotes are part of names; by user, newest first, so the rows are put in order of time.

| column | event |
| --- | --- |
| user | user_id |
| time (ISO 8601, UTC) | ts |
| (the row is there) | action `play`: a scrobble, heard to the half or for four minutes. It says no length, so it counts as a full play |
| track id (MusicBrainz) | item_id; where it is empty `ARTIST – TRACK`, and the hash of that where it is longer than an id may be |
| artist id, artist | artist of the item (the id, else the name), by its first row |

`domain` is `song`; event_id = hash of the line.
"""
from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from replay.adapters.catalog import first_met
from replay.log_rows import LogRow, line_id, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

COLUMNS = 6
LONGEST = 256  # characters of an id


def rows(path: Path) -> Iterator[LogRow]:
    """The scrobbles of one file."""
    for number, line in lines(path):
        if line:
            found = _scrobble(line)
            yield LogRow(number, msgspec.json.encode(found[0]) if found else line, None)


def items(paths: Sequence[Path]) -> Iterator[Item]:
    """The tracks of the log, with their artists."""
    found = (_scrobble(line) for path in paths for _, line in lines(path) if line)
    return first_met(
        (event.ts, Item(item_id=event.item_id, domain=event.domain, artist_id=artist)) for event, artist in filter(None, found)
    )


def named(artist: str, track: str) -> str:
    """The id of a track that has only names.

    >>> named("Nina", "Song"), len(named("Nina", "x" * 300))
    ('Nina – Song', 32)
    """
    name = f"{artist} – {track}"
    return name if len(name) <= LONGEST else line_id(name.encode())


def _scrobble(line: bytes) -> tuple[Event, str | None] | None:
    """The event and the artist; None for a row that can't be read."""
    try:
        user, moment, artist_id, artist, track_id, track = line.decode().split("\t")
        ts = int(datetime.datetime.fromisoformat(moment).timestamp() * 1000) if moment[-1:] == "Z" else None
    except ValueError:  # also: not UTF-8
        return None
    item = track_id or (named(artist, track) if track else "")
    if ts is None or not item or not user:
        return None
    return Event(event_id=line_id(line), ts=ts, user_id=user, item_id=item, action=Action.PLAY, domain="song"), artist_id or artist or None
