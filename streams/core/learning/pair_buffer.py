"""Which exposures are compared with each other once their lists have closed (MODEL.md section 1).

A list is what one request showed. Exposures without a request are compared with others of the same user at most half an hour
older. Lists whose rows were all received alike teach nothing and are left out.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec
import numpy as np

from online_model.batch import Compared
from online_model.features import Closed, Features
from online_model.pairs import TIER_OF
from streams.core.learning.checkpoint_arrays import packed, unpacked
from streams.core.learning.sampled_buffer import NONE_DROPPED, Key, SampledBuffer

TOGETHER_MS = 1_800_000  # exposures without a request, from the first to the last of a list
TOGETHER = 32  # such exposures a list


class Row(msgspec.Struct, frozen=True, array_like=True):
    """An exposure as it was received in the end."""

    features: Features
    tier: int


class PairBuffer:
    """Exposures that wait for their list to close, and those without a request that wait for others of the same user."""

    def __init__(self, limit: int) -> None:
        """`limit` bounds both kinds of waiting exposures."""
        self.limit = limit
        self._open = SampledBuffer[Features](limit, _list)
        self._alone: dict[int, list[Row]] = {}  # by user, the longest waiting first
        self._n_alone = 0
        self._ready = deque[list[Row]]()
        self.ready = 0  # rows in them

    def put(self, exposure: int, features: Features) -> int:
        """An exposure whose list is open. How many were dropped, this one or others."""
        return self._open.put(exposure, features)

    def close(self, record: Closed) -> None:
        """A list has closed."""
        rows = [
            Row(found, TIER_OF[labels])
            for exposure, labels in zip(record.ids, record.labels, strict=True)
            if (found := self._open.pop(exposure)) is not None
        ]
        self._open.settle(record.shown_before_ms)
        if len(record.ids) + record.sampled_out > 1:
            self._finish(rows)
        elif rows:
            self._gather(rows[0])
        while self._alone and (
            self._n_alone > self.limit or self._first().features.shown_ms + TOGETHER_MS < record.shown_before_ms
        ):  # fmt: skip
            self._part(next(iter(self._alone)))

    def finish_all(self) -> None:
        """The log has ended: exposures without a request are compared with those that are there."""
        while self._alone:
            self._part(next(iter(self._alone)))

    def take(self, rows: int) -> list[Compared]:
        """Lists that are ready, numbered from 0, the oldest first: whole ones, as many as it takes to have so many rows."""
        out = list[Compared]()
        number = 0
        while self._ready and len(out) < rows:
            listed = self._ready.popleft()
            self.ready -= len(listed)
            out += [Compared(row.features, number, row.tier) for row in listed]
            number += 1
        return out

    def _first(self) -> Row:
        return next(iter(self._alone.values()))[0]

    def _gather(self, row: Row) -> None:
        user = user_of(row.features)
        gathered = self._alone.get(user)
        if gathered and (len(gathered) >= TOGETHER or abs(row.features.shown_ms - gathered[0].features.shown_ms) > TOGETHER_MS):
            self._part(user)
        self._alone.setdefault(user, []).append(row)
        self._n_alone += 1

    def _part(self, user: int) -> None:
        rows = self._alone.pop(user)
        self._n_alone -= len(rows)
        self._finish(rows)

    def _finish(self, rows: Sequence[Row]) -> None:
        if len({row.tier for row in rows}) > 1:
            self._ready.append(list(rows))
            self.ready += len(rows)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        return {
            "open": packed(list(self._open.rows.items())),
            "open_share": np.array(self._open.meta(), np.int64),
            "alone": packed(list(self._alone.items())),
            "ready": packed(list(self._ready)),
        }

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays()`."""
        self._open.load(
            unpacked(arrays["open"], list[tuple[int, Features]]), arrays["open_share"].tolist() if "open_share" in arrays else NONE_DROPPED
        )
        self._alone = dict(unpacked(arrays["alone"], list[tuple[int, list[Row]]]))
        self._n_alone = sum(map(len, self._alone.values()))
        self._ready = deque(unpacked(arrays["ready"], list[list[Row]]))
        self.ready = sum(map(len, self._ready))


def user_of(features: Features) -> int:
    """The user's key."""
    return int.from_bytes(features.fields[:8], "little")


def _list(features: Features) -> Key:
    return user_of(features), features.shown_ms
