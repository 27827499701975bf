"""The one filter between candidates and a slate."""
from __future__ import annotations

from collections.abc import Iterable

from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.index import CandidateIndex


class EligibilityFilter:
    """An item is eligible where it is available now and not blocked for this request."""

    def __init__(self, catalog_index: CatalogIndex, blocked: Iterable[int], unknown: bool = False, alone: Iterable[int] = ()) -> None:
        """Blocked is every version of `blocked`, and `alone`. `unknown`: what the catalog does not hold may be shown."""
        self._catalog_index, self._unknown = catalog_index, unknown
        self._blocked = {*alone, *blocked}
        for key in blocked:
            self._blocked.update(catalog_index.versions(key))

    def without(self, items: Iterable[int]) -> EligibilityFilter:
        """The filter that lets no version of these through any more: they stand elsewhere in the slate or page."""
        return EligibilityFilter(self._catalog_index, set(items), self._unknown, self._blocked)

    def eligible(self, key: int) -> bool:
        """Whether this item may stand in the slate."""
        return key not in self._blocked and self._catalog_index.available(key, self._unknown)

    def count(self, candidate_index: CandidateIndex) -> int:
        """How many items of an index are eligible."""
        return len(candidate_index) - sum(key in candidate_index for key in self._blocked)
