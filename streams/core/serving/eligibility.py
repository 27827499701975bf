"""The one filter between candidates and a slate."""
from __future__ import annotations

from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.index import CandidateIndex


class EligibilityFilter:
    """An item is eligible where it is available now and not blocked for this request."""

    def __init__(self, catalog_index: CatalogIndex, blocked: set[int]) -> None:
        self._catalog_index, self._blocked = catalog_index, blocked

    def eligible(self, key: int) -> bool:
        """Whether this item may stand in the slate."""
        return key not in self._blocked and self._catalog_index.available(key)

    def count(self, candidate_index: CandidateIndex) -> int:
        """How many items of an index are eligible."""
        return len(candidate_index) - sum(key in candidate_index for key in self._blocked)
