"""ListenBrainz: listens and feedback as JSON lines, of its dumps and of one listener's export. Files in any order; the rows are sorted.

| field of a listen | event |
| --- | --- |
| listened_at (unix seconds) | ts |
| user_name | user_id; in a listener's own export, which names nobody, `listener` |
| (the row is there) | action `play`: submitted after half of the track or four minutes |
| mbid_mapping.recording_mbid, else additional_info.recording_mbid, recording_msid, names | item_id: the first of them that is there |
| additional_info.duration_played (s) | played_ms; without it the play says nothing of its length, and counts as a full play |
| additional_info.duration_ms, duration (s) | duration_ms |
| mbid_mapping.artist_mbids[0], else artist_name | artist of the item, by its first listen |

| field of feedback | event |
| --- | --- |
| created (unix seconds) | ts |
| user_id, user_name | user_id |
| recording_mbid, else recording_msid | item_id |
| score | 1: `collect`; -1: `dislike`; 0, which takes either back: `uncollect` |

`domain` is `song`; event_id = hash of the line. What names a recording by its msid only joins listens that have no mbid either.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from replay.adapters.catalog import first_met
from replay.datasets.lastfm_1k import named
from replay.log_rows import LogRow, line_id, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

LISTENER = "listener"
SCORES = {1: Action.COLLECT, -1: Action.DISLIKE, 0: Action.UNCOLLECT}


class _Info(msgspec.Struct):
    recording_mbid: str | None = None
    recording_msid: str | None = None
    duration_ms: int | float | None = None
    duration: int | float | None = None
    duration_played: int | float | None = None


class _Mapping(msgspec.Struct):
    recording_mbid: str | None = None
    artist_mbids: list[str] | None = None


class _Track(msgspec.Struct):
    track_name: str = ""
    artist_name: str = ""
    additional_info: _Info | None = None
    mbid_mapping: _Mapping | None = None


class _Line(msgspec.Struct):
    listened_at: int | None = None
    created: int | None = None
    score: int | None = None
    user_name: str | None = None
    user_id: Any = None  # a name in feedback, a number in dumps of listens
    recording_msid: str | None = None
    recording_mbid: str | None = None
    track_metadata: _Track | None = None


_line = msgspec.json.Decoder(_Line)


def rows(path: Path) -> Iterator[LogRow]:
    """The listens and the feedback of one file."""
    for number, line in lines(path):
        if line:
            event = _event(line)
            yield LogRow(number, msgspec.json.encode(event) if event else line, None)


def items(paths: Sequence[Path]) -> Iterator[Item]:
    """The recordings that were listened to, with their artists."""
    return first_met(_met(paths))


def _met(paths: Sequence[Path]) -> Iterator[tuple[int, Item]]:
    for path in paths:
        for _, line in lines(path):
            found = _read(line) if line else None
            if found and found.listened_at is not None and found.track_metadata and (item := _recording(found)):
                yield found.listened_at * 1000, Item(item_id=item, domain="song", artist_id=_artist(found.track_metadata))


def _read(line: bytes) -> _Line | None:
    try:
        return _line.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _event(line: bytes) -> Event | None:
    """The line as an event; None for one that can't be read."""
    found = _read(line)
    item = _recording(found) if found else None
    if not found or not item:
        return None
    event = Event(event_id=line_id(line), ts=0, user_id=LISTENER, item_id=item, action=Action.PLAY, domain="song")
    if found.listened_at is not None:
        info = (found.track_metadata.additional_info if found.track_metadata else None) or _Info()
        length = info.duration_ms if info.duration_ms is not None else None if info.duration is None else info.duration * 1000
        played = None if info.duration_played is None else info.duration_played * 1000
        return replace(
            event, ts=found.listened_at * 1000, user_id=found.user_name or LISTENER,
            played_ms=None if played is None else int(played), duration_ms=None if length is None else int(length),
        )  # fmt: skip
    action = SCORES.get(found.score) if found.score is not None else None
    if found.created is None or action is None:
        return None
    user = found.user_name or (found.user_id if isinstance(found.user_id, str) else None) or LISTENER
    return replace(event, ts=found.created * 1000, user_id=user, action=action)


def _recording(line: _Line) -> str | None:
    track = line.track_metadata or _Track()
    info, mapping = track.additional_info or _Info(), track.mbid_mapping or _Mapping()
    names = named(track.artist_name, track.track_name) if track.track_name else None
    known = (mapping.recording_mbid, line.recording_mbid, info.recording_mbid, line.recording_msid, info.recording_msid, names)
    return next((each for each in known if each), None)


def _artist(track: _Track) -> str | None:
    mbids = track.mbid_mapping.artist_mbids if track.mbid_mapping else None
    return mbids[0] if mbids else track.artist_name or None
