"""Segments of users: how active a listener is (in thirds of all) by the domain they are mostly in.

Thirds move with the listeners: activity is counted in bins of powers of 2^(1/4), fading. The first DOMAINS - 1 domains that are met
have a place of their own, all others share the last.
"""
from __future__ import annotations

import numpy as np

Array = np.ndarray

THIRDS, DOMAINS = 3, 4
SEGMENTS = THIRDS * DOMAINS  # 12: with more, each would learn too little by itself
_BINS = 128  # up to 2^32 events
_MEMORY = 10_000.0  # listeners' rounds that count as new


class Segments:
    """Counts of activity, and which domain has which place."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS)
        self.domains: list[int] = []  # by key

    def update(self, activity: Array, domain: list[int]) -> None:
        """Rounds of listeners with so many events, oldest first, and the domains they are mostly in."""
        later = np.arange(len(activity) - 1, -1, -1)
        kept = 1.0 - 1.0 / _MEMORY
        self.counts = kept ** len(activity) * self.counts + np.bincount(_bin(activity), kept**later, _BINS)
        for key in domain:
            if len(self.domains) < DOMAINS - 1 and key not in self.domains:
                self.domains.append(key)

    def segment_of(self, activity: float, domain: int) -> int:
        """Below SEGMENTS. A listener's third is that of the middle of their bin."""
        place = self.domains.index(domain) if domain in self.domains else DOMAINS - 1
        total, at = self.counts.sum(), int(_bin(np.array([activity]))[0])
        third = int(THIRDS * (self.counts[:at].sum() + self.counts[at] / 2) / total) if total else 0
        return min(third, THIRDS - 1) * DOMAINS + place

    def arrays(self) -> dict[str, Array]:
        """Everything, for a checkpoint and for a replica."""
        return {"counts": self.counts.copy(), "domains": np.array(self.domains, np.uint64)}

    def load(self, arrays: dict[str, Array]) -> None:
        """Restore `arrays()`."""
        self.counts, self.domains = arrays["counts"].astype(float), arrays["domains"].tolist()


def _bin(activity: Array) -> Array:
    return np.minimum(4 * np.log2(1.0 + np.asarray(activity, float)), _BINS - 1).astype(np.int64)
