"""RecBole's atomic files (Zhao et al., CIKM 2021): `NAME.inter`, tab separated, with a header of `name:type`. Rows are sorted by time.

| column | event |
| --- | --- |
| `user_id:token`, `item_id:token` | user_id, item_id |
| `timestamp:float` | ts: seconds, or milliseconds where it is beyond the year 5000 in seconds. A file without one is refused |
| `rating:float` from .8 of the file's highest | action `play`, `full`, also `collect` |
| … between | `play`, `full` |
| … to .4 of it | `dislike` |
| `label:float` 1, 0 | an `impression`, also `play`, `full`, where it is 1 |
| (neither) | `play`: it says no length, so it counts as a full play |
| further `token` and `float` columns, 64 at most | context, by their names |

event_id = hash of the line. Items: `NAME.item` beside it: `token_seq` columns other than names and titles as categories, `artist` and
`artist_id` as artist.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogError, LogRow, beside, line_id, lines, text_lines
from streams.core.join.events import MAX_CONTEXT, Action, Event
from streams.core.join.items import Item

LIKED, DISLIKED = 0.8, 0.4  # of the highest rating: 4 and 2 of 5 stars, 8 and 4 of 10
IN_MS = 1e11
OWN = frozenset({"user_id", "item_id", "timestamp", "rating", "label"})
ARTISTS = ("artist_id", "artist")
NAMES = ("name", "title")  # of token_seq columns, those that name an item


def rows(path: Path) -> Iterator[LogRow]:
    """The rows of one `.inter` file."""
    header = _header(path)
    missing = [name for name in ("user_id", "item_id", "timestamp") if name not in header]
    if missing:
        why = "without times nothing can be replayed" if missing == ["timestamp"] else "not an .inter file"
        raise LogError(f"{path}:1: no column {', '.join(missing)}: {why}; it has {', '.join(header)}")
    highest = _highest(path, list(header).index("rating")) if "rating" in header else 0.0
    for number, line in lines(path):
        if number > 1 and line:
            event = _event(line, header, highest)
            yield LogRow(number, msgspec.json.encode(event) if event else line, None)


def items(log: Path) -> Iterator[Item]:
    """The items of the side file."""
    path = beside(log, f"{log.name.partition('.inter')[0]}.item")
    if path is None:
        return
    header = _header(path)
    texts = text_lines(path)
    next(texts, None)
    for text in texts:
        row = dict(zip(header, text.split("\t"), strict=False))
        sequences = [
            row[name].split() for name, kind in header.items() if kind == "token_seq" and row.get(name) and not name.endswith(NAMES)
        ]
        categories = dict.fromkeys(word.strip(",")[:64] for words in sequences for word in words if word.strip(","))
        artist = next((row[name] for name in ARTISTS if row.get(name)), None)
        if row.get("item_id"):
            yield Item(item_id=row["item_id"], artist_id=artist, categories=tuple(categories)[:32])


def _header(path: Path) -> dict[str, str]:
    """Column -> type."""
    first = next((line for _, line in lines(path)), b"").decode("utf-8-sig", "backslashreplace")
    return {name: kind for name, _, kind in (column.partition(":") for column in first.split("\t"))}


def _highest(path: Path, at: int) -> float:
    """The highest rating of a file: ratings go to 5, to 10 or to 100."""
    highest = 0.0
    for number, line in lines(path):
        cells = line.split(b"\t")
        if number > 1 and len(cells) > at:
            try:
                highest = max(highest, float(cells[at]))
            except ValueError:
                continue
    return highest


def _event(line: bytes, header: dict[str, str], highest: float) -> Event | None:
    """The row as an event; None for one that can't be read."""
    try:
        cells = line.decode().split("\t")
        if len(cells) != len(header):
            return None
        row = dict(zip(header, cells, strict=True))
        time = float(row["timestamp"])
        ts = round(time if time > IN_MS else time * 1000)
        rating = float(row["rating"]) if row.get("rating") else None
        label = float(row["label"]) if row.get("label") else None
        context: dict[str, str | int | float] = {
            name[:64]: float(row[name]) if kind == "float" else row[name][:256]
            for name, kind in header.items() if name not in OWN and kind in ("float", "token") and row[name]
        }  # fmt: skip
    except (ValueError, OverflowError):  # also: not UTF-8
        return None
    action, also = _acts(rating, label, highest)
    return Event(
        event_id=line_id(line), ts=ts, user_id=row["user_id"], item_id=row["item_id"], action=action, also=also,
        full=True if (rating is not None and action is Action.PLAY) or Action.PLAY in also else None,
        context=dict(list(context.items())[:MAX_CONTEXT]),
    )  # fmt: skip


def _acts(rating: float | None, label: float | None, highest: float) -> tuple[Action, tuple[Action, ...]]:
    if label is not None:
        return Action.IMPRESSION, (Action.PLAY,) if label > 0 else ()
    if rating is not None and highest > 0:
        if rating <= DISLIKED * highest:
            return Action.DISLIKE, ()
        return Action.PLAY, (Action.COLLECT,) if rating >= LIKED * highest else ()
    return Action.PLAY, ()
