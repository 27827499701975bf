"""The categories that a page is made of, and what each is worth to this user.

Half of the categories are the user's own, by their positive feedback; a quarter are those of the most popular items; the others are
drawn at random, since a category that is never considered can't be preferred. An item counts in all of its categories.
Shapes: C categories.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log1p

import numpy as np

from online_model.features import COUNTS
from online_model.popularity import Decay
from streams.core.join.catalog import Catalog
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.index import CandidateIndex
from streams.core.serving.retrieval import CandidatePool
from streams.core.serving.scoring import ScoredCandidates
from streams.core.state.rows import UserState

Array = np.ndarray

SAMPLE = 64  # items of a category that are looked at: a share to within a few hundredths
_GOOD = [COUNTS.index(name) for name in ("full_play", "collect", "share")]
_DISLIKE = COUNTS.index("dislike")


@dataclass(frozen=True, slots=True)
class CategoryQuota:
    """How many categories a page considers."""

    most: int
    fewest: int  # modules of the page: below it, categories with too few items are considered as well
    items: int  # that fill a module


@dataclass(slots=True)
class CategoryScores:
    """What categories are ordered by, each [C]."""

    preference: Array  # mean score of the best items
    monetization: Array  # their mean monetization
    mass: Array  # log(1 + decayed plays of a day), of all candidates together


def liked_categories(user: UserState, scopes: Decay, ts: int) -> list[int]:
    """Categories with more positive feedback than dislikes, the most liked first."""
    liked = {}
    for category, row in user.by_category.items():
        counts = scopes.read(row, ts)
        liked[category] = sum(counts[column] for column in _GOOD) - counts[_DISLIKE]
    return sorted((c for c, good in liked.items() if good > 0.0), key=lambda c: (-liked[c], c))


def likely_categories(
    indexes: Mapping[int | None, CandidateIndex], liked: Iterable[int], popular: Iterable[int], eligibility: EligibilityFilter,
    quota: CategoryQuota, rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Categories that a page considers, by key. `popular`: of the most popular items, from the first on; one may come again."""
    by_chance = np.sort(np.fromiter(indexes, np.uint64, len(indexes)))[rng.permutation(len(indexes))]
    full, small, considered = list[int](), list[int](), set[int]()
    for source, limit in ((liked, (quota.most + 1) // 2), (popular, (3 * quota.most + 3) // 4), (map(int, by_chance), quota.most)):
        for category in source:
            if len(full) >= limit:
                break
            if category in indexes and category not in considered:
                considered.add(category)
                items = eligibility.count(indexes[category])
                if items:
                    (full if items >= quota.items else small).append(category)
    return sorted(full + small[: max(0, quota.fewest - len(full))])


def own_share(index: CandidateIndex, categories: Iterable[int], catalog: Catalog) -> float:
    """Share of a category's items that falls to it where each goes to any of its categories among these alike; of up to SAMPLE of them.

    `categories`: that of the index among them.
    """
    among, sample = set(categories), index.items[:SAMPLE]
    alike = [len(among.intersection(known.categories)) if (known := catalog.get(key)) else 1 for key in sample]
    return _mean([1.0 / n for n in alike])


def rank_by_category(pools: Mapping[int, CandidatePool], scored: ScoredCandidates) -> dict[int, list[int]]:
    """Candidates of each category, best first."""
    category_of = {key: category for category, pool in pools.items() for key in pool.sources}
    out: dict[int, list[int]] = {category: [] for category in pools}
    for key in scored.order:
        if key in category_of:
            out[category_of[key]].append(key)
    return out


def category_scores(
    orders: Iterable[list[int]], scored: ScoredCandidates, best: int, catalog: Catalog, catalog_index: CatalogIndex, ts: int
) -> CategoryScores:
    """Of candidates by category, best first. What no catalog knows earns nothing."""
    rows = [
        (
            _mean([scored.score[key] for key in keys[:best]]),
            _mean([known.item.monetization if (known := catalog.get(key)) else 0.0 for key in keys[:best]]),
            log1p(sum(catalog_index.popularity(key, ts) for key in keys)),
        )
        for keys in orders
    ]
    return CategoryScores(*np.array(rows, float).reshape(-1, 3).T)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
