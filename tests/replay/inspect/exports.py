"""Exports such as people bring: made up, with quotes, blanks, doubles, overlaps, disorder and zones; and what is in them, by hand."""
from __future__ import annotations

import csv
import datetime
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

T = 1_600_000_000  # seconds: 2020-09-13


class Export(NamedTuple):
    """A file, and what an independent count of it gives."""

    path: Path
    events: int  # different ones
    users: int
    items: int
    first_s: int
    last_s: int


def _acts(rows: int, seed: int) -> list[tuple[int, int, int]]:
    """(second, user, item): users have tastes, some items are popular, no two acts are at one second."""
    rng = random.Random(seed)
    acts = []
    for n in range(rows):
        user = rng.randrange(max(3, rows // 100))
        item = min(int(rng.expovariate(1 / 12)), 80) if rng.random() < 0.5 else (user * 7 + rng.randrange(12)) % 80
        acts.append((T + 600 * n + rng.randrange(500), user, item))
    return acts


def _known(path: Path, acts: list[tuple[int, int, int]]) -> Export:
    return Export(path, len(acts), len({u for _, u, _ in acts}), len({i for _, _, i in acts}), acts[0][0], acts[-1][0])


def movielens(folder: Path, rows: int) -> Export:
    """ratings.csv by user and not by time, ids as pandas writes them once a cell was empty."""
    rng, path, acts = random.Random(2), folder / "ratings.csv", _acts(rows, 1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC)
        writer.writerow(["userId", "movieId", "rating", "timestamp"])
        for second, user, item in sorted(acts, key=lambda act: (act[1], act[0])):
            writer.writerow([float(user), item, 0.5 * rng.randint(1, 10) if item % 3 else 4.5, second])
            if second % 50 == 0:
                writer.writerow([float(user), item, 4.5, second] if item % 3 == 0 else [])
    return _known(path, acts)


def lastfm(folder: Path, rows: int) -> Export:
    """A listener's export, newest first, without a header: commas and quotes in titles, times without a zone."""
    path, acts = folder / "scrobbles.csv", _acts(rows, 3)
    acts = [(60 * (second // 60), 0, item) for second, _, item in acts]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        for second, _, item in reversed(acts):
            at = datetime.datetime.fromtimestamp(second, datetime.UTC)
            writer.writerow([f'Earth, "Wind" & {item % 9}', "" if item % 5 else "I", f"Song {item}", f"{at:%d %b %Y %H:%M}"])
    return _known(path, acts)


def spotify(folder: Path, rows: int) -> Export:
    """The extended history: a zip of two JSON arrays that overlap, podcasts among the songs, a guide beside them."""
    rng, path, acts = random.Random(5), folder / "my_spotify_data.zip", _acts(rows, 4)
    plays = []
    for second, _, item in acts:
        ended = rng.random() < 0.6
        plays.append(
            {
                "ts": f"{datetime.datetime.fromtimestamp(second, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}", "platform": "ios",
                "ms_played": 200_000 if ended else 9_000,
                "conn_country": "DE", "master_metadata_track_name": f"Song {item}", "master_metadata_album_artist_name": "Böhm",
                "spotify_track_uri": f"spotify:track:{item}", "episode_name": None, "reason_start": "trackdone",
                "reason_end": "trackdone" if ended else "fwdbtn", "shuffle": False, "skipped": not ended, "offline": None,
            }
        )  # fmt: skip
    half, overlap = len(plays) // 2, len(plays) // 10
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("MyData/ReadMeFirst.pdf", b"%PDF-1.4\x00")
        zipped.writestr("MyData/Streaming_History_Audio_1.json", json.dumps(plays[half - overlap :], indent=2, ensure_ascii=False))
        zipped.writestr("MyData/Streaming_History_Audio_0.json", json.dumps(plays[:half]))
    return _known(path, [(second, 0, item) for second, _, item in acts])


def listenbrainz(folder: Path, rows: int) -> Export:
    """Listens, nested, newest first, numbers as users; some without a recording."""
    path, acts = folder / "listens.jsonl", _acts(rows, 6)
    with path.open("w", encoding="utf-8") as file:
        for second, user, item in reversed(acts):
            metadata = {"artist_name": "Sigur Rós", "track_name": f"Song {item}", "additional_info": {"duration_ms": 180_000 + item}}
            listen = {"user_id": user, "listened_at": second, "recording_msid": f"r-{item}", "track_metadata": metadata}
            file.write(json.dumps(listen, ensure_ascii=item % 2 == 0) + "\n")
    return _known(path, acts)


EXPORTS: list[Callable[[Path, int], Export]] = [movielens, lastfm, spotify, listenbrainz]
