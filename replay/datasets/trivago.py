"""Trivago's RecSys Challenge 2019 (Knees et al.): `train.csv` and its like, sessions of people who look for a hotel. Sorted by time.

| column | record |
| --- | --- |
| user_id | user_id |
| timestamp (unix seconds) | ts |
| session_id, step | request_id `SESSION-STEP` of a clickout |
| action_type `clickout item` | an exposure of `impressions`, positions from 0, and an event `collect` of `reference` in it |
| `interaction item …` (image, info, rating, deals), `search for item` | `play`, not `full`: a look, a lower grade than a clickout |
| `filter selection`, `change of sort order`, `search for destination`, `search for poi` | they name no hotel: left out, and counted |
| platform | domain |
| device, city | context |

A list is what the page held, not what was seen of it. event_id = hash of the line. line = line of the file.
"""
from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogError, LogRow, line_id, text_lines
from streams.core.join.events import Action, Event, ExposedItem, Exposure

COLUMNS = ("user_id", "session_id", "timestamp", "step", "action_type", "reference", "platform", "city", "device", "impressions")
CLICKOUT, SEARCH, LOOK = "clickout item", "search for item", "interaction item"
WITHOUT_ITEM = ("filter selection", "change of sort order", "search for destination", "search for poi")


def rows(path: Path) -> Iterator[LogRow]:
    """The steps of one file; a clickout is a list and what was taken of it."""
    reader = csv.DictReader(text_lines(path))
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise LogError(f"{path}:1: not a Trivago log: no column {', '.join(missing)}")
    for row in reader:
        action = row["action_type"]
        omitted = f"left out: {action}, which names no hotel" if action in WITHOUT_ITEM else ""
        for record in _records(row):
            yield LogRow(reader.line_num, record, None, omitted=omitted)


def _records(row: dict[str, str]) -> Iterator[bytes]:
    """A step as records; one that can't be read as it stands, for the core to reject."""
    action, item, seconds = row["action_type"], row["reference"], row["timestamp"]
    name = line_id(msgspec.json.encode(row))
    if not (seconds.isdigit() and (action in (CLICKOUT, SEARCH) or action.startswith(LOOK)) and item.isdigit()):
        ts = int(seconds) * 1000 if seconds.isdigit() else seconds
        yield msgspec.json.encode({"event_id": name, "ts": ts, "user_id": row["user_id"], "item_id": item, "action": action})
        return
    ts, user, domain = int(seconds) * 1000, row["user_id"], row["platform"] or None
    context: dict[str, str | int | float] = {key: row[key] for key in ("device", "city") if row[key]}
    if action != CLICKOUT:
        look = Event(
            event_id=name, ts=ts, user_id=user, item_id=item, action=Action.PLAY, full=False, domain=domain, context=context,
        )  # fmt: skip
        yield msgspec.json.encode(look)
        return
    request = f"{row['session_id']}-{row['step']}"
    slots = tuple(ExposedItem(item_id=listed, position=at) for at, listed in enumerate(row["impressions"].split("|")))
    yield msgspec.json.encode(
        Exposure(event_id=f"{name}-list", ts=ts, user_id=user, request_id=request, domain=domain, slots=slots, context=context)
    )
    yield msgspec.json.encode(
        Event(event_id=name, ts=ts, user_id=user, item_id=item, action=Action.COLLECT, request_id=request, domain=domain, context=context)
    )
