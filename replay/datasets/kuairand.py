"""KuaiRand (Gao et al., CIKM 2022): the impression log of a short-video app, `log_standard_*.csv` as published.

Every row is one impression with what the user did at once, so it becomes one event:

| column | event |
| --- | --- |
| user_id, video_id, time_ms | user_id, item_id, ts |
| (the row is there) | action `impression` |
| is_click = 0 | also `skip` |
| is_click = 1 or long_view = 1 | also `play` |
| long_view | `full`: full play as the source says it, the play ratio aside |
| is_like = 1 | also `collect` |
| is_forward = 1 | also `share` |
| is_hate = 1 | also `dislike` |
| play_time_ms, duration_ms | played_ms, duration_ms; a duration of 0 is unknown and left out |
| duration_ms | also `context` `duration`: its bucket, see `duration_bucket` |
| tab | domain |
| (the line's bytes) | event_id = their hash: exact duplicates, which the source has, are one event and the rest duplicates |

There is no request id and no position in the log. `date` and `hourmin` come from another clock and are not read;
the other behaviour columns (follow, comment, profile) have no action of ours. Side files beside the log are used
where they lie: `user_features_*.csv` into `context` under `user.`, `video_features_basic_*.csv` as items.
"""
from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.adapters.table import side_rows
from replay.log_rows import LogError, LogRow, beside, line_id, lines
from streams.core.join.events import WEEK_MS
from streams.core.join.items import Item

HEADER = (
    b"user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    b"play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
CELLS = HEADER.count(b",") + 1
USER_COLUMNS = (
    "user_active_degree", "register_days_range", "follow_user_num_range", "friend_user_num_range",
    "fans_user_num_range", "is_video_author", "onehot_feat1", "onehot_feat4",
)  # fmt: skip
VIDEO_COLUMNS = ("video_id", "author_id", "video_type", "upload_dt", "upload_type", "video_duration", "music_type", "tag")
BEIJING_MS = 8 * 3_600_000


def rows(path: Path) -> Iterator[LogRow]:
    """The rows of one log file."""
    users = _users(path)
    for number, line in lines(path):
        if number == 1:
            if line.lstrip(b"\xef\xbb\xbf") != HEADER:
                raise LogError(f"{path}:1: not a KuaiRand log: expected the columns {HEADER.decode()}, got {line[:200]!r}")
        elif line:
            yield LogRow(number, _event(line, users) or line, None)


def _event(line: bytes, users: dict[bytes, bytes]) -> bytes | None:
    """The row as an event; None if it is not a row of numbers."""
    cells = line.split(b",")
    if len(cells) != CELLS or not all(cell.isdigit() for cell in cells):
        return None
    user, video, _, _, ts, click, like, _, _, share, hate, long_view, played, length, _, _, _, _, tab = cells
    also = [
        name
        for name, there in (
            (b'"play"', click != b"0" or long_view != b"0"),
            (b'"skip"', click == b"0"),
            (b'"collect"', like != b"0"),
            (b'"share"', share != b"0"),
            (b'"dislike"', hate != b"0"),
        )
        if there
    ]
    parts = (
        b'{"event_id":"%b","ts":%b,"user_id":"%b","item_id":"%b"' % (line_id(line).encode(), ts, user, video),
        b'"action":"impression","also":[%b],"full":%b' % (b",".join(also), b"true" if long_view != b"0" else b"false"),
        b'"played_ms":%d' % min(int(played), WEEK_MS),
        b'"duration_ms":%b' % length if 0 < int(length) <= WEEK_MS else b"",
        b'"domain":"%b"' % tab,
        b'"context":{"duration":"%d"%b}' % (duration_bucket(int(length)), users.get(user, b"")),
    )
    return b",".join([part for part in parts if part]) + b"}"


def _users(log: Path) -> dict[bytes, bytes]:
    """What the side file says of every user, as the rest of a JSON object."""
    path = beside(log, "user_features_*.csv")
    if path is None:
        return {}
    return {
        row["user_id"].encode(): b"".join(
            b"," + msgspec.json.encode(f"user.{name}") + b":" + msgspec.json.encode(row[name]) for name in USER_COLUMNS if row[name]
        )
        for row in side_rows(path, ("user_id", *USER_COLUMNS))
    }


def items(log: Path) -> Iterator[Item]:
    """The videos of the side file: the author as artist, tags as categories, upload day (Beijing), type, music, second tag."""
    path = beside(log, "video_features_basic_*.csv")
    if path is None:
        return
    for row in side_rows(path, VIDEO_COLUMNS):
        length = int(float(row["video_duration"])) if row["video_duration"] else None
        tags = [tag for tag in row["tag"].split(",") if tag]
        named = {name: row[name] for name in ("video_type", "upload_type", "music_type")} | {"tag2": tags[1] if len(tags) > 1 else ""}
        yield Item(
            item_id=row["video_id"],
            artist_id=row["author_id"] or None,
            categories=tuple(tags),
            published_ts=_day_ms(row["upload_dt"]),
            duration_ms=length,
            features={name: value for name, value in named.items() if value},
        )


def duration_bucket(duration_ms: int) -> int:
    """Steps of 5 s below a minute (0 to 11), of a minute above (13 to 22, the last is open).

    >>> [duration_bucket(seconds * 1000) for seconds in (0, 59, 60, 3600)]
    [0, 11, 13, 22]
    """
    seconds = min(duration_ms // 1000, 600)
    return seconds // 5 if seconds < 60 else 12 + seconds // 60


def _day_ms(day: str) -> int | None:
    """Midnight in Beijing of a date, ms UTC."""
    if not day:
        return None
    return (datetime.date.fromisoformat(day).toordinal() - datetime.date(1970, 1, 1).toordinal()) * 86_400_000 - BEIJING_MS
