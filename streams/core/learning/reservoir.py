"""Examples of the last week that are shown to the dense layers once more, so that rare tiers are not forgotten (MODEL.md section 7).

A stratum a tier; a tier is that of an example when it was made, its labels are kept up to date by reversals
(a partial play is no label: such examples are in the lowest tier here). A stratum that is full
takes a new example with the probability SLOTS / (its arrivals of a week) into a place drawn by hash. Rows older than a week are not drawn:
of a rare tier that may be most. Every stratum that has younger ones is drawn as often; a row weighs as much as its tier's decayed share,
so that neither rates nor calibration move. All draws are hashes of ids and of the model's version: a rerun draws the same.
"""
from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec
import numpy as np
import xxhash

from online_model.features import Example, Reversal
from online_model.pairs import TIERS, tiers
from streams.core.learning.checkpoint_arrays import packed, unpacked

SLOTS = 512  # examples a tier; up to 4 kB each
LIFE_MS = 7 * 86_400_000
_PAIR = struct.Struct("<QQ")


class Reservoir:
    """Kept examples by tier, and how many came of each of late."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = slots
        self.kept: list[list[Example]] = [[] for _ in range(TIERS)]
        self.counts = np.zeros(TIERS)  # arrivals, fading by e in LIFE_MS
        self.at_ms = 0
        self._owed = 0.0  # draws, below one
        self._at: dict[int, tuple[int, int]] = {}  # id -> tier, place

    def add(self, records: Sequence[Example | Reversal]) -> None:
        """Offer examples that have been learned, and follow reversals of those that are kept."""
        for record in records:
            if isinstance(record, Reversal):
                self._turn(record)
                continue
            self._fade(record.ts)
            tier = int(tiers(np.array([record.labels]))[0])
            self.counts[tier] += 1
            kept, uniform = self.kept[tier], _hash(record.id, 0)
            if len(kept) < self.slots:
                self._at[record.id] = tier, len(kept)
                kept.append(record)
            elif uniform * max(self.counts[tier], self.slots) < self.slots:
                place = int(_hash(record.id, 1) * self.slots)
                self._at.pop(kept[place].id, None)
                self._at[record.id] = tier, place
                kept[place] = record

    def draw(self, learned: int, share: float, version: int, now_ms: int) -> list[Example]:
        """Rows beside so many that were learned, such that rows drawn are a share of all; weighed back to the tiers' own shares."""
        self._owed += learned * share / (1 - share)
        n = int(self._owed)
        self._owed -= n
        fresh = [[row for row in kept if row.ts + LIFE_MS >= now_ms] for kept in self.kept]
        drawable = [tier for tier in range(TIERS) if fresh[tier]]
        if not drawable:
            return []
        importance_weight = self.counts / self.counts[drawable].sum() * len(drawable)
        out = []
        for at in range(n):
            tier = drawable[int(_hash(version, 2 * at + 2) * len(drawable))]
            row = fresh[tier][int(_hash(version, 2 * at + 3) * len(fresh[tier]))]
            out.append(msgspec.structs.replace(row, sampling_rate=row.sampling_rate / float(importance_weight[tier])))
        return out

    def _turn(self, record: Reversal) -> None:
        tier, place = self._at.get(record.id, (0, -1))
        if place >= 0:
            row, bit = self.kept[tier][place], 1 << record.task
            labels = row.labels | bit if record.sign > 0 else row.labels & ~bit
            self.kept[tier][place] = msgspec.structs.replace(row, labels=labels)

    def _fade(self, ts: int) -> None:
        if ts > self.at_ms:
            self.counts *= np.exp((self.at_ms - ts) / LIFE_MS) if self.at_ms else 1.0
            self.at_ms = ts

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, for a checkpoint."""
        return {"rows": packed(self.kept), "counts": self.counts.copy(), "at_ms": np.array(self.at_ms), "owed": np.array(self._owed)}

    def load(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore `arrays()`."""
        self.kept = unpacked(arrays["rows"], list[list[Example]])
        self.counts, self.at_ms, self._owed = arrays["counts"].copy(), int(arrays["at_ms"]), float(arrays["owed"])
        self._at = {row.id: (tier, place) for tier, rows in enumerate(self.kept) for place, row in enumerate(rows)}


def _hash(key: int, salt: int) -> float:
    """In [0, 1), by key and salt alone."""
    return (xxhash.xxh3_64_intdigest(_PAIR.pack(key, salt)) >> 11) * 2.0**-53
