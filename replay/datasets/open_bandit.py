"""Open Bandit (Saito et al., NeurIPS Datasets and Benchmarks 2021): what one logging policy showed, with its propensities.

One row is one item at one place of a page: action `impression`, also `play` where click = 1, and `full` there (a click is all that
can happen on this page, so it stands in the place of a play to the end; a row without a click says nothing about a skip).
timestamp -> ts (cut to ms), item_id, position (1 to 3), propensity_score -> propensity. The log has no user: the four hashed user
features together name a group, which stands as user_id, and each goes into `context` under `user.`; the row's affinity for its own
item goes there as `affinity`. strategy = the logging policy, as in the file's or the folder's name (`random`, `bts`). event_id =
hash of the line, whose first cell is a running number. Items: `*item_context.csv` beside the log.
"""
from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import msgspec

from replay.adapters.table import side_rows
from replay.log_rows import LogError, LogRow, beside, line_id, lines
from streams.core.join.events import Action, Event
from streams.core.join.items import Item

NEEDED = ("timestamp", "item_id", "position", "click", "propensity_score", *(f"user_feature_{k}" for k in range(4)))
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MS = datetime.timedelta(milliseconds=1)


def rows(path: Path) -> Iterator[LogRow]:
    """The rows of one log file."""
    strategy = next((name for name in ("random", "bts") if name in path.name or name in path.parts[-3:]), None)
    at: dict[str, int] = {}
    for number, line in lines(path):
        if number == 1:
            at = {name: place for place, name in enumerate(line.decode("utf-8", "backslashreplace").split(","))}
            missing = [name for name in NEEDED if name not in at]
            if missing:
                raise LogError(f"{path}:1: not an Open Bandit log: no column {', '.join(missing)}")
        elif line:
            yield LogRow(number, _event(line, at, strategy) or line, None)


def _event(line: bytes, at: dict[str, int], strategy: str | None) -> bytes | None:
    """The row as an event; None if it can't be read."""
    try:
        cells = line.decode().split(",")
        group = [cells[at[f"user_feature_{k}"]] for k in range(4)]
        item = cells[at["item_id"]]
        context: dict[str, str | int | float] = {f"user.feature_{k}": value for k, value in enumerate(group)}
        if affinity := at.get(f"user-item_affinity_{item}"):
            context["affinity"] = float(cells[affinity])
        clicked = bool(int(cells[at["click"]]))
        event = Event(
            event_id=line_id(line),
            ts=(datetime.datetime.fromisoformat(cells[at["timestamp"]]) - EPOCH) // MS,
            user_id="-".join(group),
            item_id=item,
            action=Action.IMPRESSION,
            also=(Action.PLAY,) if clicked else (),
            full=True if clicked else None,
            position=int(cells[at["position"]]),
            propensity=float(cells[at["propensity_score"]]),
            strategy=strategy,
            context=context,
        )
    except (ValueError, IndexError, TypeError):  # ValueError: not UTF-8, too; TypeError: a time without a zone
        return None
    return msgspec.json.encode(event)


def items(log: Path) -> Iterator[Item]:
    """The items of the side file: its numeric and its three hashed features."""
    path = beside(log, f"{log.name.partition('_')[0]}_item_context.csv", "item_context.csv")
    if path is None:
        return
    for row in side_rows(path, ("item_id", *(f"item_feature_{k}" for k in range(4)))):
        features = {f"feature_{k}": row[f"item_feature_{k}"] for k in range(1, 4)}
        yield Item(item_id=row["item_id"], features={**features, "feature_0": float(row["item_feature_0"])})
