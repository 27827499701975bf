"""Spotify's extended streaming history: `Streaming_History_Audio_*.json`, each one JSON array. Files may overlap and come in any order: the
rows are sorted, and a stream that stands in two of them is one event, the other a `duplicate`.

| field | event |
| --- | --- |
| ts (ISO 8601, UTC), ms_played | ts: the stream's end less what was played, so its start |
| username | user_id; newer exports name nobody: `listener` |
| spotify_track_uri, spotify_episode_uri, audiobook_chapter_uri | item_id: the one that is there; domain `song`, `longform`, `audiobook` |
| skipped true, or reason_end `fwdbtn` | action `skip`; else `play` |
| reason_end | full: whether it is `trackdone` |
| ms_played | played_ms |
| platform, conn_country | context `platform`, `country` |
| master_metadata_album_artist_name, episode_show_name, audiobook_uri | artist of the item, by its first stream |

event_id = hash of time, user, item and played time. line = place in the array, from 1.
"""
from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from replay.adapters.catalog import first_met
from replay.log_rows import LogError, LogRow, line_id, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

LISTENER = "listener"
LONGEST = 256  # characters of a value of the context


class _Stream(msgspec.Struct):
    ts: str
    ms_played: int
    username: str | None = None
    platform: str | None = None
    conn_country: str | None = None
    master_metadata_album_artist_name: str | None = None
    spotify_track_uri: str | None = None
    episode_show_name: str | None = None
    spotify_episode_uri: str | None = None
    audiobook_uri: str | None = None
    audiobook_chapter_uri: str | None = None
    reason_end: str | None = None
    skipped: bool | int | None = None

    def item(self) -> tuple[str, str, str | None] | None:
        """Id, domain, artist; None for a stream that names nothing (a local file, a video)."""
        for uri, domain, artist in (
            (self.spotify_track_uri, "song", self.master_metadata_album_artist_name),
            (self.spotify_episode_uri, "longform", self.episode_show_name),
            (self.audiobook_chapter_uri, "audiobook", self.audiobook_uri),
        ):
            if uri:
                return uri, domain, artist or None
        return None

    def start_ms(self) -> int:
        """When it began. Raises ValueError for a time that is none, or that has no zone."""
        end = datetime.datetime.fromisoformat(self.ts)
        if end.tzinfo is None:
            raise ValueError(self.ts)
        return int(end.timestamp() * 1000) - self.ms_played


_array = msgspec.json.Decoder(list[msgspec.Raw])
_stream = msgspec.json.Decoder(_Stream)


def rows(path: Path) -> Iterator[LogRow]:
    """The streams of one file."""
    for number, raw in _elements(path):
        event = _event(raw)
        yield LogRow(number, msgspec.json.encode(event) if event else raw, None)


def items(paths: Sequence[Path]) -> Iterator[Item]:
    """What was played, with its artist or show."""
    return first_met(_met(paths))


def _met(paths: Sequence[Path]) -> Iterator[tuple[int, Item]]:
    for path in paths:
        for _, raw in _elements(path):
            try:
                stream = _stream.decode(raw)
                found, ts = stream.item(), stream.start_ms()
            except (msgspec.DecodeError, ValueError):
                continue
            if found:
                yield ts, Item(item_id=found[0], domain=found[1], artist_id=found[2])


def _elements(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        elements = _array.decode(b"\n".join(line for _, line in lines(path)))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: not a JSON array of streams: {error}; pass Streaming_History_Audio_*.json") from None
    for number, element in enumerate(elements, 1):
        yield number, bytes(element)


def _event(raw: bytes) -> Event | None:
    """The stream as an event; None for one that can't be read."""
    try:
        stream = _stream.decode(raw)
        found, ts = stream.item(), stream.start_ms()
    except (msgspec.DecodeError, ValueError):  # ValueError: also, not UTF-8
        return None
    if not found:
        return None
    user, (item, domain, _) = stream.username or LISTENER, found
    skipped = bool(stream.skipped) or stream.reason_end == "fwdbtn"
    context: dict[str, str | int | float] = {
        name: value[:LONGEST] for name, value in (("platform", stream.platform), ("country", stream.conn_country)) if value
    }
    return Event(
        event_id=line_id(f"{stream.ts} {stream.ms_played} {user} {item}".encode()), ts=ts, user_id=user, item_id=item, domain=domain,
        action=Action.SKIP if skipped else Action.PLAY, full=None if skipped else stream.reason_end == "trackdone",
        played_ms=stream.ms_played, context=context,
    )  # fmt: skip
