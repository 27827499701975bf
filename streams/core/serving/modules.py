"""The modules of a page: which categories they are of and in which order, or the three of the control arm, and what stands in them.

What chance decides is drawn before anything is scored, category by category, so that one pass of the model judges all of a page.
"""
from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np

from bandit.strategies import Strategy, order, scores
from streams.core.join.features_view import ItemCounts
from streams.core.serving.candidates import EXPLORE, FRESH, POPULAR_NOW, EligibilityFilter
from streams.core.serving.explore import arrange, given_above, propensities
from streams.core.serving.fusion import Fusion
from streams.core.serving.preference import Pool, figures, likely, pool, ranked
from streams.core.serving.scoring import Predict, Scored, Scorer, ServingRequest
from streams.core.state.rows import UserState

CONTROL = POPULAR, NEW, FOR_YOU = "popular", "new", "for-you"  # modules of the control arm, in their order
ORDER = 2  # of the random numbers of a request: those that put modules in an order


@dataclass(slots=True)
class Row:
    """A module before its items are named."""

    name: str
    category: str | None
    listed: list[int]
    sources: list[str]
    chances: list[float]  # of each item in its slot
    given: list[float]  # the same, given the slots above it in this module
    preference: float | None = None
    monetization: float | None = None
    score: float | None = None
    propensity: float = 1.0


@dataclass(slots=True)
class Moment:
    """One request for a page, and all that its modules depend on."""

    asked: ServingRequest
    modules: int
    per_module: int
    tasters: int  # further modules, of one item each
    state: UserState
    blocked: set[int]
    domain: int | None
    item_counts: ItemCounts
    predict: Predict | None  # None: popularity orders
    ts: int
    chance: list[int]  # seed of all that is drawn
    rng: np.random.Generator


class Modules:
    """Makes modules out of what a scorer judges. Their figures are of their category; a control arm's have none."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.catalog_index = scorer, scorer.catalog_index
        self._recommend = scorer.settings

    def considered(self, m: Moment, categories: int) -> dict[int, Pool]:
        """Up to `categories`, in the order of their keys, each with what may stand in it: together as many candidates as of a list."""
        s, catalog_index, gate = self._recommend, self.catalog_index.categories(m.domain), EligibilityFilter(self.catalog_index, m.blocked)
        most = s.popular_candidates + s.fresh_candidates + s.explore_candidates
        least = m.modules + m.tasters
        wanted = max(least, min(categories, most // m.per_module))
        best = (known.category for key in self.catalog_index.of(m.domain).popular() if (known := self.scorer.catalog.get(key)))
        of = likely(catalog_index, best, gate, m.state, self.scorer.view.scopes, m.ts, wanted, least, m.per_module, m.rng)
        each = max(m.per_module, most // max(1, len(of)))
        return {c: pool(catalog_index[c], gate, s, each, m.per_module, m.rng) for c in of}

    def by_category(self, m: Moment, pools: dict[int, Pool], strategy: Strategy, fusion: Fusion) -> tuple[list[Row], Scored]:
        """One module a category, in the strategy's order, no more than asked for; those that come next get one of a single item."""
        names = {c: self._category(c, p) for c, p in pools.items()}
        module = {key: _module(names[c], c) for c, p in pools.items() for key in (*p.sources, *p.drawn)}
        scored = self._scored(m, module, fusion)
        orders = ranked(pools, scored)
        f = figures(orders.values(), scored, m.per_module, self.scorer.catalog, self.catalog_index, m.ts)
        score = scores(strategy, f.preference, f.monetization, f.mass)
        places, chances = order(strategy, score, np.random.default_rng([*m.chance, ORDER]).random(m.modules + m.tasters))
        of, rows = list(pools), []
        for n, (place, chance) in enumerate(zip(places.tolist(), chances.tolist(), strict=True)):
            category = of[place]
            within = pools[category].top(m.per_module if n < m.modules else 1)
            rows.append(
                _row(
                    _module(names[category], category), names[category], within, orders[category], self._recommend.explore_share,
                    float(f.preference[place]), float(f.monetization[place]), float(score[place]), chance,
                )
            )  # fmt: skip
        return rows, scored

    def control(self, m: Moment, fusion: Fusion) -> tuple[list[Row], Scored]:
        """The same three modules for everybody; what stands in one is left out of those below it."""
        s, candidate_index = self._recommend, self.catalog_index.of(m.domain)
        rows, placed, p = list[Row](), set[int](), None
        for name, source, best in ((POPULAR, POPULAR_NOW, candidate_index.popular()), (NEW, FRESH, candidate_index.fresh())):
            gate = EligibilityFilter(self.catalog_index, m.blocked | placed)
            listed = list(islice((key for key in best if gate.open(key)), m.per_module))
            rows.append(Row(name, None, listed, [source] * len(listed), [1.0] * len(listed), [1.0] * len(listed)))
            placed.update(listed)
            if len(rows) == m.modules:
                break
        module = {key: row.name for row in rows for key in row.listed}
        if m.modules >= len(CONTROL):
            most = s.popular_candidates + s.fresh_candidates + s.explore_candidates
            p = pool(candidate_index, EligibilityFilter(self.catalog_index, m.blocked | placed), s, most, m.per_module, m.rng)
            module |= dict.fromkeys((*p.sources, *p.drawn), FOR_YOU)
        scored = self._scored(m, module, fusion)
        if p is not None:
            rows.append(_row(FOR_YOU, None, p, [key for key in scored.order if key in p.sources], s.explore_share))
        return rows, scored

    def _scored(self, m: Moment, module: dict[int, str], fusion: Fusion) -> Scored:
        if m.predict is None:
            return self.scorer.popular(module, m.item_counts, m.ts)
        return self.scorer.ranked(module, m.asked, m.state, m.item_counts, m.predict, fusion, m.ts, module.get)

    def _category(self, category: int, pool: Pool) -> str:
        known = self.scorer.catalog.get(next(iter(pool.sources)))
        if known is None:
            raise ValueError(f"category {category:016x} has an item that is not in the catalog: both must be told of every change")
        return known.item.categories[0]


def _module(category: str, key: int) -> str:
    """Its name fits where names of modules go."""
    name = f"category:{category}"
    return name if len(name) <= 64 else f"category:{key:016x}"


def _row(
    name: str, category: str | None, pool: Pool, best: list[int], share: float,
    preference: float | None = None, monetization: float | None = None, score: float | None = None, propensity: float = 1.0,
) -> Row:  # fmt: skip
    """The best candidates, and what was drawn where a slot explores, as in a list."""
    listed = arrange(best, pool.drawn, pool.explores)
    rank = {key: n for n, key in enumerate(best)}
    ranks = [rank.get(key) for key in listed]
    chances, given = propensities(ranks, pool.items, share), given_above(ranks, pool.items, share)
    sources = [EXPLORE if explores else pool.sources[key] for key, explores in zip(listed, pool.explores, strict=True)]
    return Row(name, category, listed, sources, chances, given, preference, monetization, score, propensity)
