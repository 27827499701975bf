"""A user's behaviours in time order, packed: append, undo, cut, merge.

A history is `bytes` of BEHAVIOUR rows, oldest first. Being immutable, it is its own snapshot: an open join
keeps the history of its exposure without a copy.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence
from math import exp2

import numpy as np

BEHAVIOUR = np.dtype([("item", "<u8"), ("ts", "<i8"), ("domain", "<u8"), ("action", "u1")])  # 25 bytes
PARTIAL_PLAY, FULL_PLAY, COLLECT, SHARE, SKIP, DISLIKE = 1, 2, 3, 4, 5, 6
ACTIONS = 7  # codes 0..6; 0 pads
REPEATS = 4  # of a history, behaviours of one item and action are at most one in so many

_ROW = struct.Struct("<QqQB")
ROW = _ROW.size


def append(history: bytes, item: int, ts: int, domain: int, action: int, limit: int) -> bytes:
    """Add a behaviour in time order (equal times: after), then keep the newest `limit`.

    Of one item and action no more than a quarter of that: whoever hears one song all day has other tastes, too.
    """
    row = _ROW.pack(item, ts, domain, action)
    end = len(history)
    while end and _ROW.unpack_from(history, end - ROW)[1] > ts:
        end -= ROW
    history = history[:end] + row + history[end:]
    most = max(1, limit // REPEATS)
    if history.count(row[:8]) > most:
        same = [at for at in range(0, len(history), ROW) if history[at : at + 8] == row[:8] and history[at + ROW - 1] == action]
        if len(same) > most:
            history = history[: same[0]] + history[same[0] + ROW :]
    return history[-limit * ROW :]


def newest(history: bytes) -> tuple[int, int]:
    """Item and time of the last behaviour of a history that isn't empty."""
    item, ts, _, _ = _ROW.unpack_from(history, len(history) - ROW)
    return item, ts


def newest_first(histories: Sequence[bytes], ts: int, within_ms: int, limit: int) -> list[tuple[int, int]]:
    """Items and times of the last behaviours until `ts`, none older than `within_ms`, newest first.

    Of equal times those of the last history come first. Of each history the newest `limit` are looked at.
    """
    out: list[tuple[int, int]] = []
    for history in reversed(histories):
        end = len(history)
        for at in range(end - ROW, max(-ROW, end - (limit + 1) * ROW), -ROW):
            item, taken, _, _ = _ROW.unpack_from(history, at)
            if taken < ts - within_ms:
                break
            if taken <= ts:
                out.append((item, taken))
    if len(histories) > 1:
        out.sort(key=lambda row: -row[1])
    return out


def taken_before(histories: Sequence[bytes], item: int, ts: int, within_ms: int, most: int) -> list[int]:
    """Up to `most` different other items that were taken last, within a time, newest first; none where the newest is `item` itself."""
    out: dict[int, None] = {}
    for each, _ in newest_first(histories, ts, within_ms, 2 * most):
        if each == item and not out:
            return []
        if each != item:
            out[each] = None
        if len(out) == most:
            break
    return list(out)


def undo(history: bytes, item: int, action: int) -> bytes:
    """Remove the newest behaviour with this item and action, if there is one."""
    for at in range(len(history) - ROW, -1, -ROW):
        key, _, _, code = _ROW.unpack_from(history, at)
        if key == item and code == action:
            return history[:at] + history[at + ROW :]
    return history


def counts(history: bytes, ts: int, half_life_ms: float) -> list[float]:
    """Decayed number of behaviours by action [ACTIONS - 1] at `ts`; what is younger counts as of then."""
    out = [0.0] * (ACTIONS - 1)
    for _, at, _, action in _ROW.iter_unpack(history):
        out[action - 1] += exp2(min(at - ts, 0) / half_life_ms)
    return out


def merge(histories: list[bytes], limit: int) -> bytes:
    """Histories of several domains as one, in time order; ties keep the order of the list."""
    filled = [h for h in histories if h]
    if len(filled) <= 1:
        return filled[0][-limit * ROW :] if filled else b""
    rows = np.frombuffer(b"".join(filled), BEHAVIOUR)
    return rows[np.argsort(rows["ts"], kind="stable")[-limit:]].tobytes()


def distinct(first: bytes, second: bytes, limit: int) -> bytes:
    """Two histories of one user that may share behaviours as one, each behaviour once, in time order; the newest `limit`."""
    if not (first and second):
        return (first or second)[-limit * ROW :]
    known = {first[at : at + ROW] for at in range(0, len(first), ROW)}
    rest = [row for at in range(0, len(second), ROW) if (row := second[at : at + ROW]) not in known]
    return merge([first, b"".join(rest)], limit)
