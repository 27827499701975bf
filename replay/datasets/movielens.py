"""MovieLens (Harper and Konstan, TiiS 2015): `ratings.csv`, `ratings.dat` (`::`) or `u.data` (tabs). By user: the rows are sorted by time.

| column | event |
| --- | --- |
| user, movie | user_id, item_id |
| timestamp (unix seconds, of the rating) | ts |
| rating from 4 | action `play`, `full` (it was seen), also `collect` |
| rating from 2.5 to 3.5 | action `play`, `full` |
| rating to 2 | action `dislike` |

event_id = hash of the line.
Items: `movies.csv`, `movies.dat` or `u.item` beside it: genres as categories, the year of the title as published_ts (from 1970 on).
"""
from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogRow, beside, line_id, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

LIKED, DISLIKED = 4.0, 2.0
HEADER = b"userId,movieId,rating,timestamp"
NO_GENRES = "(no genres listed)"
U_ITEM_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir",
    "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def rows(path: Path) -> Iterator[LogRow]:
    """The ratings of one file."""
    for number, line in lines(path):
        if line and not (number == 1 and line.lstrip(b"\xef\xbb\xbf") == HEADER):
            event = _event(line)
            yield LogRow(number, msgspec.json.encode(event) if event else line, None)


def items(log: Path) -> Iterator[Item]:
    """The movies of the side file."""
    path = beside(log, "movies.csv", "movies.dat", "u.item")
    if path is None:
        return
    texts = (_text(line) for _, line in lines(path))
    if "csv" in path.suffixes[0]:
        split = ((cells[0], cells[1], cells[2].split("|")) for cells in csv.reader(texts) if len(cells) == 3 and cells[0] != "movieId")
    elif "dat" in path.suffixes[0]:
        split = ((cells[0], cells[1], cells[2].split("|")) for cells in (text.split("::") for text in texts) if len(cells) == 3)
    else:
        of_100k = (text.split("|") for text in texts)
        split = (
            (cells[0], cells[1], [genre for genre, flag in zip(U_ITEM_GENRES, cells[5:], strict=True) if flag == "1"])
            for cells in of_100k if len(cells) == 5 + len(U_ITEM_GENRES)
        )  # fmt: skip
    for movie, title, genres in split:
        yield Item(item_id=movie, categories=tuple(genre for genre in genres if genre and genre != NO_GENRES), published_ts=_year_ms(title))


def _event(line: bytes) -> Event | None:
    """The rating as an event; None for a row that can't be read."""
    try:
        text = line.decode()
        user, movie, stars, seconds = text.split("::" if "::" in text else "\t" if "\t" in text else ",")
        rating, ts = float(stars), int(seconds) * 1000
    except ValueError:  # also: not UTF-8
        return None
    if not 0 <= rating <= 5:
        return None
    seen = rating > DISLIKED
    return Event(
        event_id=line_id(line), ts=ts, user_id=user, item_id=movie, action=Action.PLAY if seen else Action.DISLIKE,
        also=(Action.COLLECT,) if rating >= LIKED else (), full=True if seen else None,
    )  # fmt: skip


def _text(line: bytes) -> str:
    """Titles of the older sets are Latin-1."""
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _year_ms(title: str) -> int | None:
    year = _YEAR.search(title)
    if year is None or not 1970 <= int(year[1]) < 2100:
        return None
    return int(datetime.datetime(int(year[1]), 1, 1, tzinfo=datetime.UTC).timestamp()) * 1000
