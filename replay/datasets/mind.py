"""MIND (Wu et al., ACL 2020): `behaviors.tsv`, lists of news with what was clicked. Not in order of time, so the rows are sorted by it.

| column | record |
| --- | --- |
| impression id | the first part of request_id, `ID-PART` |
| user | user_id |
| time (`11/13/2019 8:36:57 AM`, no zone; read as UTC) | ts |
| history | not read: its clicks have no times |
| impressions `N1-0 N2-1` | an exposure of the news, and an event `play`, `full`, for each that was clicked, at its own moment |

The order of a list was shuffled before it was published, so every position is 0. A list of more than 200 news is several exposures. A
list without labels (the test set) is rejected. Items: `news.tsv` beside it: category and subcategory. event_id = hash of the line, then
part and place.
"""
from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogRow, beside, line_id, lines, text_lines
from streams.core.join.events import MAX_SLOTS, Action, Event, ExposedItem, Exposure
from streams.core.join.items import Item

TIME = "%m/%d/%Y %I:%M:%S %p"


def rows(path: Path) -> Iterator[LogRow]:
    """The lists of one file, each with its clicks behind it."""
    for number, line in lines(path):
        if line:
            records = _records(line)
            for record in records:
                yield LogRow(number, msgspec.json.encode(record), None)
            if not records:
                yield LogRow(number, line, None)


def items(log: Path) -> Iterator[Item]:
    """The news of the side file."""
    path = beside(log, "news.tsv")
    if path is not None:
        for cells in csv.reader(text_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE):
            if len(cells) >= 3:
                yield Item(item_id=cells[0], categories=tuple(dict.fromkeys(name for name in cells[1:3] if name)))


def _records(line: bytes) -> list[Exposure | Event]:
    """The exposures of a row and its clicks; none for a row that can't be read."""
    try:
        request, user, moment, _, listed = line.decode().split("\t")
        ts = int(datetime.datetime.strptime(moment, TIME).replace(tzinfo=datetime.UTC).timestamp()) * 1000
    except ValueError:  # also: not UTF-8
        return []
    news = [labelled.rpartition("-") for labelled in listed.split()]
    if not news or not all(item and clicked in ("0", "1") for item, _, clicked in news):
        return []
    found: list[Exposure | Event] = []
    name = line_id(line)[:24]
    for part, start in enumerate(range(0, len(news), MAX_SLOTS)):
        some = news[start : start + MAX_SLOTS]
        slots = tuple(ExposedItem(item_id=item, position=0) for item, _, _ in some)
        found.append(Exposure(event_id=f"{name}-{part}", ts=ts, user_id=user, request_id=f"{request}-{part}", slots=slots))
        found += [
            Event(
                event_id=f"{name}-{part}-{place}", ts=ts, user_id=user, item_id=item, action=Action.PLAY, full=True,
                request_id=f"{request}-{part}",
            )
            for place, (item, _, clicked) in enumerate(some) if clicked == "1"
        ]  # fmt: skip
    return found
