"""The one filter between candidates and a slate."""
from __future__ import annotations

from collections.abc import Iterable

from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.index import CandidateIndex


class EligibilityFilter:
    """An item is eligible where it is available now and not blocked for this request."""

    def __init__(self, catalog_index: CatalogIndex, blocked: set[int], unknown: bool = False) -> None:
        """`unknown`: what the catalog does not hold may be shown."""
        self._catalog_index, self._blocked, self._unknown = catalog_index, blocked, unknown

    def without(self, items: Iterable[int]) -> EligibilityFilter:
        """The filter that lets these through no more: they stand elsewhere in the page."""
        return EligibilityFilter(self._catalog_index, self._blocked.union(items), self._unknown)

    def eligible(self, key: int) -> bool:
        """Whether this item may stand in the slate."""
        return key not in self._blocked and self._catalog_index.available(key, self._unknown)

    def count(self, candidate_index: CandidateIndex) -> int:
        """How many items of an index are eligible."""
        return len(candidate_index) - sum(key in candidate_index for key in self._blocked)
