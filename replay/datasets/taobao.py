"""Taobao (Zhu et al., KDD 2018): `UserBehavior.csv`, acts of a shop's customers, with nothing said of what was shown. No header.

| column | event |
| --- | --- |
| 1 user, 2 item | user_id, item_id |
| 3 category | category of the item, by its first row |
| 4 behaviour `pv` | action `play`: it says no length, so it counts as a full play |
| `fav`, `cart` | `collect` |
| `buy` | `share`: a target of its own, the strongest of all |
| 5 time (unix seconds) | ts |

The whole file is by user, so the rows are sorted by time. event_id = hash of the line.
"""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from replay.adapters.catalog import first_met
from replay.log_rows import LogRow, line_id, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

ACTIONS = {"pv": Action.PLAY, "fav": Action.COLLECT, "cart": Action.COLLECT, "buy": Action.SHARE}


def rows(path: Path) -> Iterator[LogRow]:
    """The rows of one file."""
    for number, line in lines(path):
        if line:
            found = _event(line)
            yield LogRow(number, msgspec.json.encode(found[0]) if found else line, None)


def items(paths: Sequence[Path]) -> Iterator[Item]:
    """The items of the log, with their categories."""
    found = (_event(line) for path in paths for _, line in lines(path) if line)
    return first_met((event.ts, Item(item_id=event.item_id, categories=(category,))) for event, category in filter(None, found))


def _event(line: bytes) -> tuple[Event, str] | None:
    """The row as an event, and its category; None for one that can't be read."""
    try:
        user, item, category, behaviour, seconds = line.decode().split(",")
        return Event(event_id=line_id(line), ts=int(seconds) * 1000, user_id=user, item_id=item, action=ACTIONS[behaviour]), category
    except (ValueError, KeyError):  # ValueError: also, not UTF-8
        return None
