"""A history as a Python list of (item, ts, domain, action): what `online_model.history` must equal."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = tuple[Any, ...]  # item, ts, domain, action


def append(history: Sequence[Row], row: Row, limit: int) -> list[Row]:
    """`sorted` is stable: a row of an equal time goes after those that are there. Of one item and action a quarter at most."""
    rows = sorted([*history, row], key=lambda r: r[1])
    same = [r for r in rows if (r[0], r[-1]) == (row[0], row[-1])]
    if len(same) > max(1, limit // 4):
        rows.remove(same[0])
    return rows[-limit:]


def undo(history: Sequence[Row], item: int, action: int) -> list[Row]:
    out = list(history)
    for i in reversed(range(len(out))):
        if (out[i][0], out[i][-1]) == (item, action):
            del out[i]
            break
    return out


def merge(histories: Sequence[Sequence[Row]], limit: int) -> list[Row]:
    return sorted([row for history in histories for row in history], key=lambda r: r[1])[-limit:]
