"""What is blocked, deleted, hidden or expired is not eligible; what a catalog does not hold only where that is allowed."""
from __future__ import annotations

from streams.core.join.items import Item
from streams.core.serving.eligibility import EligibilityFilter
from tests.streams.core.serving.test_catalog_index import START, catalog_index_of, k


def test_eligible_is_what_is_available_and_not_blocked() -> None:
    items = [Item(item_id=name) for name in "ab"]
    catalog_index = catalog_index_of(*items, Item(item_id="hidden", hidden=True), Item(item_id="old", expires_ts=START))
    catalog_index.delete(k("deleted"))
    eligibility = EligibilityFilter(catalog_index, {k("b"), k("blocked")})
    names = ("a", "b", "hidden", "old", "deleted", "blocked", "unknown")
    assert [name for name in names if eligibility.eligible(k(name))] == ["a"]
    allowing = EligibilityFilter(catalog_index, {k("b"), k("blocked")}, unknown=True)
    assert [name for name in names if allowing.eligible(k(name))] == ["a", "unknown"]
    assert eligibility.count(catalog_index.of_domain(None)) == 1
    assert EligibilityFilter(catalog_index, set()).count(catalog_index.of_domain(None)) == 2
