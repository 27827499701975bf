"""One play becomes a list of drawn songs around it, and a play in that list; a song's length is learned from earlier rows."""
from __future__ import annotations

from pathlib import Path

import pytest

from replay import logs
from replay.datasets import thirty_music
from replay.log_rows import LogError
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Exposure, Reason, Rejected


def log(folder: Path, *rows: str) -> Path:
    path = folder / "sessions.csv"
    path.write_text("\n".join([thirty_music.HEADER.decode(), *rows]) + "\n")
    return path


def test_row_is_a_list_and_a_play_in_it(tmp_path: Path) -> None:
    shown, played = thirty_music.rows(log(tmp_path, "31,7,104,1390209967,526"))
    exposure, act = decode(shown.raw)[0], decode(played.raw)[0]
    assert isinstance(exposure, Exposure) and [slot.item_id for slot in exposure.slots] == ["104"]  # no other song in this log
    assert (exposure.user_id, exposure.request_id, exposure.ts) == ("7", "31-2", 1_390_209_967_000)
    assert act == Event(
        event_id="p2", ts=1_390_209_967_000, user_id="7", item_id="104", action=Action.PLAY, domain="song", request_id="31-2",
        played_ms=526_000,
    )  # fmt: skip


def test_length_is_the_most_frequent_playtime_of_earlier_rows(tmp_path: Path) -> None:
    # playtimes 30, 200, 200, 30, 7: before each row the mode is none, 30, 30 (tie: the shortest), 200, 30 (tie)
    plays = [f"1,{user},5,{100 + 300 * user},{played}" for user, played in enumerate((30, 200, 200, 30, 7))]
    acts = [decode(row.raw)[0] for row in thirty_music.rows(log(tmp_path, *plays))][1::2]
    assert [act.duration_ms for act in acts if isinstance(act, Event)] == [None, 30_000, 30_000, 200_000, 30_000]


def test_songs_of_the_whole_log_are_drawn(tmp_path: Path) -> None:
    plays = [f"1,{song},{song},{100 + song},30" for song in range(9)]
    exposures = [decode(row.raw)[0] for row in thirty_music.rows(log(tmp_path, *plays))][::2]
    for song, exposure in enumerate(exposures[:4]):  # later ones find fewer that nobody has played
        assert isinstance(exposure, Exposure)
        items = [slot.item_id for slot in exposure.slots]
        assert len(set(items)) == 5 and str(song) in items and all(int(item) >= song for item in items)


def test_row_that_is_not_numbers_is_rejected_with_its_own_bytes(tmp_path: Path) -> None:
    (read,) = thirty_music.rows(log(tmp_path, "1,2,3,now,5"))
    (rejected,) = decode(read.raw)
    assert isinstance(rejected, Rejected) and rejected.raw == b"1,2,3,now,5" and rejected.reason is Reason.WRONG_TYPE


def test_another_log_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(LogError, match=r"x\.csv:1: not a 30Music log"):
        list(thirty_music.rows(path))


@pytest.mark.real_log
@pytest.mark.prove
def test_public_log_has_as_many_plays_as_its_readme_says(data_dir: Path) -> None:
    log = data_dir / "30music" / "sessions.csv.gz"
    found = [decode(row.raw)[0] for row in logs.read([log], logs.Format.THIRTY_MUSIC, logs.Columns())]
    acts = [record for record in found if isinstance(record, Event)]
    assert len(acts) == 171_587 and len({act.user_id for act in acts}) == 7_094 and len({act.item_id for act in acts}) == 9_987
    known = [act for act in acts if act.duration_ms]
    assert len(known) == 171_587 - 9_987  # every row but a song's first
    low = sum(act.played_ms < 0.5 * act.duration_ms for act in known if act.played_ms is not None and act.duration_ms)
    assert low / len(acts) < 0.05  # skips are few, as its README says (1.7 %)
