"""The official columns become the acts that the docstring states, row by row."""
from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import pytest

from replay import logs
from replay.datasets import kuairand
from replay.log_rows import LogError
from streams.core.join.decode import decode
from streams.core.join.events import Action, Event, Reason, Rejected

# user, video, date, hourmin, time_ms, click, like, follow, comment, forward, hate, long_view, play, duration, …, tab
ROWS = {
    "clicked and watched to the end": (
        "7,12,20220425,0,1650812741436,1,0,0,0,0,0,1,61802,49866,0,0,0,0,1",
        {"also": (Action.PLAY,), "full": True, "played_ms": 61802, "duration_ms": 49866, "domain": "1"},
    ),
    "swiped away": (
        "7,13,20220425,0,1650812741437,0,0,0,0,0,0,0,900,12000,0,0,0,0,0",
        {"also": (Action.SKIP,), "full": False, "played_ms": 900, "duration_ms": 12000, "domain": "0"},
    ),
    "long view without a click is both": (
        "7,14,20220425,0,1650812741438,0,0,0,0,0,0,1,18000,9000,0,0,0,0,4",
        {"also": (Action.PLAY, Action.SKIP), "full": True, "played_ms": 18000, "duration_ms": 9000, "domain": "4"},
    ),
    "liked, forwarded, hated; length unknown": (
        "7,15,20220425,0,1650812741439,1,1,1,1,1,1,0,5,0,0,0,1,0,2",
        {
            "also": (Action.PLAY, Action.COLLECT, Action.SHARE, Action.DISLIKE),
            "full": False,
            "played_ms": 5,
            "duration_ms": None,
            "domain": "2",
        },
    ),
}


def log(folder: Path, *rows: str) -> Path:
    path = folder / "log_standard_1.csv"
    path.write_text("\n".join([kuairand.HEADER.decode(), *rows]) + "\n")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_row_becomes_the_acts_that_the_docstring_states(tmp_path: Path, name: str) -> None:
    row, expected = ROWS[name]
    (read,) = kuairand.rows(log(tmp_path, row))
    (event,) = decode(read.raw)
    assert isinstance(event, Event)
    assert read.line == 2 and read.arrival_ms is None
    assert (event.user_id, event.item_id, event.ts) == ("7", row.split(",")[1], int(row.split(",")[4]))
    assert event.action is Action.IMPRESSION and event.request_id is None and set(event.context) == {"duration"}
    assert {field: getattr(event, field) for field in expected} == expected


def test_equal_lines_have_one_event_id_and_others_their_own(tmp_path: Path) -> None:
    a, b = ROWS["swiped away"][0], ROWS["clicked and watched to the end"][0]
    ids = [decode(row.raw)[0].event_id for row in kuairand.rows(log(tmp_path, a, b, a))]
    assert ids[0] == ids[2] != ids[1]


def test_row_that_is_not_numbers_is_rejected_with_its_own_bytes(tmp_path: Path) -> None:
    broken = ROWS["swiped away"][0].replace("900", "nine")
    (read,) = kuairand.rows(log(tmp_path, broken))
    (rejected,) = decode(read.raw)
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.WRONG_TYPE and rejected.raw == broken.encode()  # to JSON, a row is a number and more


def test_user_attributes_come_from_the_side_file_plain_or_packed(tmp_path: Path) -> None:
    head = "user_id," + ",".join(kuairand.USER_COLUMNS)
    with gzip.open(tmp_path / "user_features_pure.csv.gz", "wt") as file:
        file.write(head + '\n7,high,"[100,1k)"' + ",0" * (len(kuairand.USER_COLUMNS) - 2) + "\n")
    (read,) = kuairand.rows(log(tmp_path, ROWS["swiped away"][0]))
    (event,) = decode(read.raw)
    assert isinstance(event, Event)
    first, second = kuairand.USER_COLUMNS[:2]
    assert event.context[f"user.{first}"] == "high" and event.context[f"user.{second}"] == "[100,1k)"
    assert len(event.context) == len(kuairand.USER_COLUMNS) + 1


def test_items_come_from_the_side_file(tmp_path: Path) -> None:
    (tmp_path / "video_features_basic_pure.csv").write_text(
        "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,music_id,music_type,tag\n"
        '3,77,NORMAL,2022-04-10,LongImport,0.0,87433.0,720.0,1280.0,9,9.0,"39,2"\n'
        "4,78,AD,2022-04-08,,0.0,,720.0,1280.0,9,,\n"
    )
    first, second = kuairand.items(log(tmp_path))
    assert (first.item_id, first.artist_id, first.categories, first.duration_ms) == ("3", "77", ("39", "2"), 87433)
    assert first.published_ts == 1_649_520_000_000  # 2022-04-09 16:00 UTC = midnight of the 10th in Beijing
    assert first.features == {"video_type": "NORMAL", "upload_type": "LongImport", "music_type": "9.0", "tag2": "2"}
    assert (second.categories, second.duration_ms, second.features) == ((), None, {"video_type": "AD"})


@pytest.mark.parametrize(("ms", "bucket"), [(0, 0), (4_999, 0), (5_000, 1), (59_999, 11), (60_000, 13), (6_000_000, 22)])
def test_duration_buckets(ms: int, bucket: int) -> None:
    assert kuairand.duration_bucket(ms) == bucket


def test_another_log_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(LogError, match=r"x\.csv:1: not a KuaiRand log"):
        list(kuairand.rows(path))


@pytest.mark.real_log
def test_public_log_has_as_many_acts_and_duplicates_as_its_readme_says(data_dir: Path) -> None:
    log = data_dir / "kuairand-pure" / "log_standard_4_25_to_4_30_pure.csv.gz"
    events = [decode(row.raw)[0] for row in logs.read([log], logs.Format.KUAIRAND, logs.Columns())]
    assert len(events) == 94_784 and all(isinstance(event, Event) for event in events)
    assert len({event.event_id for event in events}) == 92_034
    acts = Counter(act for event in events for act in event.also)
    assert acts["skip"] == 94_784 - 41_503 and acts["collect"] == 1_625 and acts["share"] == 76 and acts["dislike"] == 65
    assert sum(event.full is True for event in events) == 29_123
    assert len(list(logs.items([log], logs.Format.KUAIRAND))) == 7_583
