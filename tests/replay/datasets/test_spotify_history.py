"""Two files of one export that overlap: a stream is one event, at its start."""
from __future__ import annotations

import datetime
import json

import pytest

from replay.datasets import spotify_history
from replay.log_rows import LogError
from streams.core.join.events import Action
from tests.replay.datasets.sample import SAMPLES, read

FILES = sorted((SAMPLES / "spotify").glob("*.json"))


def test_sample_gives_what_json_counts() -> None:
    streams = [stream for path in FILES for stream in json.loads(path.read_text(encoding="utf-8"))]
    uris = ("spotify_track_uri", "spotify_episode_uri", "audiobook_chapter_uri")
    good = [s for s in streams if isinstance(s["ms_played"], int) and s["ts"].endswith("Z") and any(s.get(uri) for uri in uris)]
    once = {json.dumps(s, sort_keys=True): s for s in good}.values()
    starts = [round(datetime.datetime.fromisoformat(s["ts"]).timestamp() * 1000) - s["ms_played"] for s in once]
    items = {next(s[uri] for uri in uris if s.get(uri)) for s in once}
    found = read("spotify-history", *reversed(FILES))
    assert len(streams) == 20 and len(good) - len(once) == 2
    assert found.counts == (len(once), 2, len(items), 20 - len(once), min(starts), max(starts))
    assert found.rejected == {"duplicate": 2, "wrong_type": 3}


def test_end_reason_says_full_play_and_skip() -> None:
    found = read("spotify-history", *FILES)
    by_end = {(event.action, event.full) for event in found.events}
    assert by_end == {(Action.PLAY, True), (Action.PLAY, False), (Action.SKIP, None)}
    assert [event.played_ms for event in found.events if event.action is Action.SKIP] == [12_000, 10_000]


def test_episodes_and_audiobooks_are_domains_of_their_own() -> None:
    domains = {event.item_id: event.domain for event in read("spotify-history", *FILES).events}
    assert (domains["spotify:episode:7"], domains["spotify:episode:9c1"], domains["spotify:track:1"]) == ("longform", "audiobook", "song")
    artists = {item.item_id: item.artist_id for item in spotify_history.items(FILES)}
    assert (artists["spotify:episode:7"], artists["spotify:track:4"]) == ("Hives", "Übermut")


def test_file_of_another_kind_is_refused_by_name() -> None:
    with pytest.raises(LogError, match=r"piki\.csv: not a JSON array of streams"):
        list(spotify_history.rows(SAMPLES / "piki.csv"))
