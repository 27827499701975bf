"""RetailRocket (2017): `events.csv`, acts of a shop's visitors, with nothing said of what was shown. In no order: sorted by time.

| column | event |
| --- | --- |
| timestamp (ms) | ts |
| visitorid, itemid | user_id, item_id |
| event `view` | action `play`: it says no length, so it counts as a full play |
| `addtocart` | `collect` |
| `transaction` | `share`: a target of its own, the strongest of the three |

event_id = hash of the line.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.log_rows import LogError, LogRow, line_id, lines
from streams.core.join.events import Action, Event

HEADER = b"timestamp,visitorid,event,itemid,transactionid"
ACTIONS = {"view": Action.PLAY, "addtocart": Action.COLLECT, "transaction": Action.SHARE}


def rows(path: Path) -> Iterator[LogRow]:
    """The rows of one file."""
    for number, line in lines(path):
        if number == 1:
            if line.lstrip(b"\xef\xbb\xbf") != HEADER:
                raise LogError(f"{path}:1: not RetailRocket's events.csv: expected the header {HEADER.decode()}")
        elif line:
            event = _event(line)
            yield LogRow(number, msgspec.json.encode(event) if event else line, None)


def _event(line: bytes) -> Event | None:
    """The row as an event; None for one that can't be read."""
    try:
        moment, visitor, kind, item, _ = line.decode().split(",")
        return Event(event_id=line_id(line), ts=int(moment), user_id=visitor, item_id=item, action=ACTIONS[kind])
    except (ValueError, KeyError):  # ValueError: also, not UTF-8
        return None
