"""30Music (Turrin et al., RecSys 2015 posters): songs as they were listened to, `session_id,user_id,song_id,ts,playtime` in time order.

The log says what was played, never what was shown, so one play becomes a list of its own, shown and answered at one moment:

| column | record |
| --- | --- |
| user_id, ts (unix seconds) | user_id, ts |
| (the row is there) | an exposure: the song among four drawn ones that this user had not been shown (see `sampled.py`), in random order |
| song_id | item_id; in the exposure, and then an event `play` |
| playtime (seconds) | played_ms |
| (earlier rows of the song) | duration_ms: their most frequent playtime (the shortest, of several); none at a song's first row |
| session_id | the first part of request_id, `SESSION-ROW` |

So the drawn songs are *exposures without an act that nobody ever made*: figures say how well a played song is told from an equally
popular one, nothing about rates; skips are few in the source. `domain` is `song`. A song that nobody has played is drawn as well.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.adapters.sampled import Unshown
from replay.log_rows import LogError, LogRow, lines
from streams.core.join.events import Action, Event, ExposedItem, Exposure

HEADER = b"session_id,user_id,song_id,ts,playtime"
DOMAIN = "song"


def rows(path: Path) -> Iterator[LogRow]:
    """The plays of one log file: an exposure and a play each."""
    songs = (cells[2].decode() for _, _, cells in _cells(path) if cells)
    unshown = Unshown(dict.fromkeys(sorted(set(songs)), DOMAIN))
    lengths: dict[bytes, dict[int, int]] = {}  # song -> playtime in ms -> rows
    for number, line, cells in _cells(path):
        if cells is None:
            yield LogRow(number, line, None)
            continue
        session, user, song, ts, played = cells
        name, at, request = song.decode(), int(ts) * 1000, f"{session.decode()}-{number}"
        shown = tuple(ExposedItem(item_id=drawn, position=place) for place, drawn in enumerate(unshown.around(user.decode(), name), 1))
        exposure = Exposure(event_id=f"x{number}", ts=at, user_id=user.decode(), request_id=request, slots=shown, domain=DOMAIN)
        yield LogRow(number, msgspec.json.encode(exposure), None)
        times = lengths.setdefault(song, {})
        act = Event(
            event_id=f"p{number}", ts=at, user_id=user.decode(), item_id=name, action=Action.PLAY, domain=DOMAIN, request_id=request,
            played_ms=int(played) * 1000, duration_ms=min(times, key=lambda ms: (-times[ms], ms), default=None),
        )  # fmt: skip
        yield LogRow(number, msgspec.json.encode(act), None)
        times[int(played) * 1000] = times.get(int(played) * 1000, 0) + 1


def session(event: Event) -> str | None:
    """The session_id of a play."""
    return event.request_id.rpartition("-")[0] if event.request_id is not None else None


def _cells(path: Path) -> Iterator[tuple[int, bytes, list[bytes] | None]]:
    """(line, its bytes, its cells); no cells where it is not five numbers."""
    for number, line in lines(path):
        if number == 1:
            if line != HEADER:
                raise LogError(f"{path}:1: not a 30Music log: expected the header {HEADER.decode()}")
        elif line:
            cells = line.split(b",")
            yield number, line, cells if len(cells) == 5 and all(cell.isdigit() for cell in cells) else None
