"""Columns are known by their names, and by their cells where they have none."""
from __future__ import annotations

from pathlib import Path

import pytest

from replay.inspect.columns import Roles, roles
from replay.inspect.sample import sample

LATEST = 1_800_000_000_000


def found(folder: Path, text: str) -> Roles:
    path = folder / "log.csv"
    path.write_text(text)
    return roles(sample([path]), LATEST)


@pytest.mark.parametrize(
    ("text", "fields", "labels", "constants"),
    [
        ("uid,iid,when\n1,2,1700000000\n1,3,1700000001\n", {"user_id": "uid", "item_id": "iid", "ts": "when"}, {}, {"action": "play"}),
        (
            "uts,utc_time,artist,album,track,track_mbid\n"
            + '1700000000,"14 Nov 2023, 22:13",Can,,Vitamin C,\n1700000400,"14 Nov 2023, 22:20",Can,,Halleluhwah,m\n' * 2,
            {"ts": "uts", "item_id": "artist || ' - ' || track"}, {}, {"user_id": "me", "action": "play"},
        ),
        (
            "userId,bookId,rating,date\nu,1,9,2023-11-14T22:13:20Z\nu,2,0,2023-11-14T22:13:21Z\n",
            {"user_id": "userId", "item_id": "bookId", "ts": "date"},
            {"collect": "rating >= 8", "dislike": "rating > 0 AND rating <= 3"}, {"action": "play"},
        ),
        (
            "user_id,item_id,ts,play ratio,length\nu,1,1700000000,0.5,200\nu,2,1700000001,1,180\n",
            {"played_ms": '"play ratio" * length * 1000', "duration_ms": "length * 1000"}, {}, {"action": "play"},
        ),
        (
            "user_id,item_id,ts,ms_played,liked,skipped\nu,1,1700000000,5000,true,\nu,2,1700000001,90000,false,true\n",
            {"played_ms": "ms_played", "also.collect": "liked", "also.skip": "skipped"}, {}, {"action": "play"},
        ),
    ],
)  # fmt: skip
def test_names_say_what_columns_are(
    tmp_path: Path, text: str, fields: dict[str, str], labels: dict[str, str], constants: dict[str, str]
) -> None:
    columns = found(tmp_path, text).columns
    assert (columns.fields, columns.labels, columns.constants) == (fields, labels, constants)


def test_paths_into_nested_objects_are_known_by_their_last_two_names(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text('[{"user": {"id": 1}, "track": {"id": 7, "artists": [{"id": 5}]}, "context": {"played_at": "2024-01-01T00:00:00Z"}}]')
    fields = roles(sample([path]), LATEST).columns.fields
    assert fields == {"user_id": "user.id", "item_id": "track.id", "ts": "context.played_at"}


def test_columns_without_names_are_known_by_their_cells(tmp_path: Path) -> None:
    rated = found(tmp_path, "".join(f"{n % 3}\t{n % 7}\t{n % 5 + 1}\t{881250949 + n}\n" for n in range(20)))
    assert rated.columns.names == ("user_id", "item_id", "rating", "ts") and rated.rating
    assert rated.columns.labels == {"collect": "rating >= 4", "dislike": "rating <= 2"}
    scrobbles = found(tmp_path, "".join(f"Can,Tago Mago,Song {n},31 Jan 2024 23:{n:02}\n" for n in range(20)))
    assert scrobbles.columns.names == ("artist", "album", "track", "ts")
    assert scrobbles.columns.fields == {"item_id": "artist || ' - ' || track"} and scrobbles.columns.zone == "UTC"


def test_actions_without_a_name_and_numbers_of_rows_are_told_apart_from_ids_and_ratings(tmp_path: Path) -> None:
    behaviours = found(tmp_path, "".join(f"{n},{n % 3},{n % 7},{n % 4},{'pv' if n % 2 else 'fav'},{1700000000 + n}\n" for n in range(30)))
    assert behaviours.columns.names == ("column1", "user_id", "item_id", "column4", "action", "ts") and not behaviours.rating
    typed = found(tmp_path, "user_id:token,item_id:token,timestamp:float\n1,2,1700000000.0\n1,3,1700000001.0\n")
    assert typed.columns.fields == {"user_id": "user_id:token", "item_id": "item_id:token", "ts": "timestamp:float"}
    worded = found(tmp_path, "Time;The User;Track Title\n1700000000;u;a\n1700000001;u;b\n")
    assert worded.columns.fields == {"user_id": "The User", "item_id": "Track Title", "ts": "Time"}


def test_actions_get_their_meanings_and_what_has_none_is_left_out_with_a_note(tmp_path: Path) -> None:
    text = "user_id,item_id,ts,event\n" + "".join(
        f"u,{n},{1_700_000_000 + n},{what}\n" for n, what in enumerate(("Listen", "search", "fav"))
    )
    columns, notes = found(tmp_path, text).columns, found(tmp_path, text).notes
    assert columns.actions == {"Listen": "play", "search": "", "fav": "collect"} and columns.fields["action"] == "event"
    assert any("search have no meaning here; their rows are left out" in note for note in notes)
