"""Which categories a page is made of, what may stand in their modules, and what each is to this user.

Half of the categories are the user's own, by the good acts they have brought; a quarter are those of the most popular items; the others are
drawn by chance, since a category that is never considered can't be preferred. Shapes: C categories.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log1p
from typing import TYPE_CHECKING

import numpy as np

from online_model.features import COUNTS
from online_model.popularity import Decay
from streams.core.join.catalog import Catalog
from streams.core.serving.candidates import CandidateIndex, CatalogIndex, EligibilityFilter, draw, retrieve
from streams.core.serving.scoring import Scored
from streams.core.state.rows import UserState

if TYPE_CHECKING:
    from streams.core.serving.recommend import RecommendSettings

Array = np.ndarray

_GOOD = [COUNTS.index(name) for name in ("full_play", "collect", "share")]
_DISLIKE = COUNTS.index("dislike")


@dataclass(slots=True)
class Pool:
    """What may stand in one module."""

    sources: dict[int, str]  # of the candidates that are ranked
    items: int  # that an exploring slot draws from
    explores: list[bool]  # by slot
    drawn: list[int]  # for these slots, in order; candidates or not

    def top(self, slots: int) -> Pool:
        """The same for the first slots alone: what is drawn for one slot is drawn alike, whatever follows it."""
        explores = self.explores[:slots]
        return Pool(self.sources, self.items, explores, self.drawn[: sum(explores)])


@dataclass(slots=True)
class Figures:
    """What categories are ordered by, each [C]."""

    preference: Array  # mean score of the best items
    monetization: Array  # their mean monetization
    mass: Array  # log(1 + decayed plays of a day), of all candidates together


def likely(
    catalog_index: Mapping[int, CandidateIndex], popular: Iterable[int], gate: EligibilityFilter, state: UserState, scopes: Decay, ts: int,
    wanted: int, least: int, full: int, rng: np.random.Generator,
) -> list[int]:  # fmt: skip
    """Up to `wanted` of the categories, by key. Those with fewer than `full` items are taken only where `least` aren't there.

    `popular`: categories of the most popular items, from the first on; one may come again.
    """
    liked = {}
    for category, row in state.by_category.items():
        counts = scopes.read(row, ts)
        liked[category] = sum(counts[column] for column in _GOOD) - counts[_DISLIKE]
    own = sorted((c for c, good in liked.items() if good > 0.0), key=lambda c: (-liked[c], c))
    by_chance = np.sort(np.fromiter(catalog_index, np.uint64, len(catalog_index)))[rng.permutation(len(catalog_index))]
    out: list[int] = []
    small: list[int] = []
    met: set[int] = set()
    for of, most in ((own, (wanted + 1) // 2), (popular, (3 * wanted + 3) // 4), (map(int, by_chance), wanted)):
        for category in of:
            if len(out) >= most:
                break
            if category in catalog_index and category not in met:
                met.add(category)
                items = gate.count(catalog_index[category])
                if items:
                    (out if items >= full else small).append(category)
    return sorted(out + small[: max(0, least - len(out))])


def pool(
    candidate_index: CandidateIndex,
    gate: EligibilityFilter,
    settings: RecommendSettings,
    candidates: int,
    slots: int,
    rng: np.random.Generator,
) -> Pool:
    """Candidates, popular, fresh and random ones in the shares that a list has, and what chance decides before anything is scored."""
    of = settings.popular_candidates, settings.fresh_candidates, settings.explore_candidates
    popular, fresh = (candidates * wanted // max(1, sum(of)) for wanted in of[:2])
    sources = retrieve(candidate_index, gate, popular, fresh, candidates - popular - fresh, slots, rng)
    items = gate.count(candidate_index)
    explores = rng.random(min(slots, items)) < settings.explore_share
    return Pool(sources, items, explores.tolist(), draw(candidate_index, gate, int(explores.sum()), rng))


def ranked(pools: Mapping[int, Pool], scored: Scored) -> dict[int, list[int]]:
    """Candidates of each category, best first."""
    category = {key: of for of, p in pools.items() for key in p.sources}
    out: dict[int, list[int]] = {of: [] for of in pools}
    for key in scored.order:
        if key in category:
            out[category[key]].append(key)
    return out


def figures(orders: Iterable[list[int]], scored: Scored, best: int, catalog: Catalog, catalog_index: CatalogIndex, ts: int) -> Figures:
    """Of candidates by category, best first. What no catalog knows earns nothing."""
    rows = [
        (
            _mean([scored.score[key] for key in keys[:best]]),
            _mean([known.item.monetization if (known := catalog.get(key)) else 0.0 for key in keys[:best]]),
            log1p(sum(catalog_index.popularity(key, ts) for key in keys)),
        )
        for keys in orders
    ]
    return Figures(*np.array(rows, float).reshape(-1, 3).T)


def _mean(of: list[float]) -> float:
    return sum(of) / len(of) if of else 0.0
