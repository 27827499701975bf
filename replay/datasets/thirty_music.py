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

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from replay.adapters.sampled import Unshown
from replay.log_rows import LogError, LogRow, lines
from streams.core.join.events import Action, Event

HEADER = b"session_id,user_id,song_id,ts,playtime"
DOMAIN = "song"


def rows(path: Path) -> Iterator[LogRow]:
    """The plays of one log file: an exposure and a play each."""
    songs = (cells[2].decode() for _, _, cells in _cells(path) if cells)
    unshown = Unshown(dict.fromkeys(sorted(set(songs)), DOMAIN))
    lengths = defaultdict[bytes, Counter[int]](Counter)  # song -> playtime in ms -> rows
    for number, line, cells in _cells(path):
        if cells is None:
            yield LogRow(number, line, None)
            continue
        session, user, song, ts, played = cells
        played_ms, times = int(played) * 1000, lengths[song]
        event = Event(
            event_id=f"p{number}", ts=int(ts) * 1000, user_id=user.decode(), item_id=song.decode(), action=Action.PLAY, domain=DOMAIN,
            request_id=f"{session.decode()}-{number}", played_ms=played_ms,
            duration_ms=min(times, key=lambda ms: (-times[ms], ms), default=None),
        )  # fmt: skip
        yield from unshown.rows(number, event, f"x{number}")
        times[played_ms] += 1


def session(event: Event) -> str | None:
    """The session_id of a play; None of an event that names no request.

    >>> session(Event(ts=0, user_id="u", item_id="i", action=Action.PLAY, request_id="31-2"))
    '31'
    """
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
