"""The modules of a page: one of each likely category in a strategy's order, or the same three for everybody of the control arm.

All random draws come before scoring, category by category, so that the model scores a page in one forward pass.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from bandit.strategies import Strategy, order, scores
from streams.core.join import keys
from streams.core.serving.fusion import Fusion
from streams.core.serving.preference import (
    CategoryQuota,
    category_scores,
    liked_categories,
    likely_categories,
    own_share,
    rank_by_category,
)
from streams.core.serving.requests import RequestState
from streams.core.serving.retrieval import FRESH, POPULAR_NOW, Arrangement, CandidatePool, pool
from streams.core.serving.scoring import ScoredCandidates, Scorer

CONTROL = POPULAR, NEW, FOR_YOU = "popular", "new", "for-you"  # modules of the control arm, in their order
ORDER = 2  # of the random numbers of a request: those that put modules in an order


@dataclass(frozen=True, slots=True)
class PageSize:
    """How many modules a page has, and how many items they hold."""

    modules: int
    per_module: int
    single_item_modules: int  # further ones


@dataclass(slots=True)
class DraftModule:
    """A module before its items have their ids and scores."""

    name: str
    category: str | None  # None of the control arm's, as the next three
    arrangement: Arrangement
    preference: float | None = None
    monetization: float | None = None
    score: float | None = None
    propensity: float = 1.0


class ModuleBuilder:
    """Builds the modules of one page."""

    def __init__(self, scorer: Scorer, state: RequestState, size: PageSize) -> None:
        self._scorer, self._state, self._size = scorer, state, size
        self._quota, self._share, self._catalog_index = scorer.settings.quota(), scorer.settings.explore_share, scorer.catalog_index
        self._index = scorer.catalog_index.of_domain(state.domain)
        self._eligibility, self._rng = scorer.eligibility(state), state.rng()

    def considered(self, categories: int) -> dict[int, CandidatePool]:
        """Up to `categories` by key, each with what may stand in it: together about as many candidates as of a slate.

        An item of several of them is a candidate in one. The smallest category comes first, since it has the least choice, and takes
        no more than its share of what others could show too, unless it needs them to fill its module.
        """
        size, indexes = self._size, self._catalog_index.categories(self._state.domain)
        fewest = size.modules + size.single_item_modules
        quota = CategoryQuota(max(fewest, min(categories, self._quota.total // size.per_module)), fewest, size.per_module)
        catalog = self._scorer.catalog
        popular = (category for key in self._index.popular() if (known := catalog.get(key)) for category in known.categories)
        liked = liked_categories(self._state.user, self._scorer.view.scopes, self._state.ts)
        likely = likely_categories(indexes, liked, popular, self._eligibility, quota, self._rng)
        each = max(size.per_module, self._quota.total // max(1, len(likely)))
        eligibility, pools = self._eligibility, dict[int, CandidatePool]()
        shared = self._catalog_index.shared_items > 0
        left = sorted(likely, key=lambda c: (len(indexes[c]), c)) if shared else likely
        for n, c in enumerate(left):
            most = each
            if shared:
                share = own_share(indexes[c], left[n:], catalog)
                most = min(each, max(size.per_module, int(share * eligibility.count(indexes[c]))))
            pools[c] = pool(indexes[c], eligibility, self._quota.scaled(most), size.per_module, self._share, self._rng)
            if shared:
                eligibility = eligibility.without(pools[c].items())
        full = [c for c in likely if pools[c].size >= size.per_module]
        small = [c for c in likely if 0 < pools[c].size < size.per_module]
        return {c: pools[c] for c in sorted(full + small[: max(0, fewest - len(full))])}

    def by_category(
        self, pools: Mapping[int, CandidatePool], strategy: Strategy, fusion: Fusion
    ) -> tuple[list[DraftModule], ScoredCandidates]:
        """One module a category, in the strategy's order, up to the size of the page; behind them the modules of a single item."""
        size, state = self._size, self._state
        names = {c: self._category_name(c, p) for c, p in pools.items()}
        scored = self._scored({key: _module_name(names[c], c) for c, p in pools.items() for key in p.items()}, fusion)
        ranked = rank_by_category(pools, scored)
        figures = category_scores(ranked.values(), scored, size.per_module, self._scorer.catalog, self._catalog_index, state.ts)
        score = scores(strategy, figures.preference, figures.monetization, figures.mass)
        places, propensities = order(strategy, score, state.rng(ORDER).random(size.modules + size.single_item_modules))
        categories, out = list(pools), []
        for n, (place, propensity) in enumerate(zip(places.tolist(), propensities.tolist(), strict=True)):
            c = categories[place]
            items = pools[c].first(size.per_module if n < size.modules else 1).arrange(ranked[c], self._share)
            of_module = float(figures.preference[place]), float(figures.monetization[place]), float(score[place])
            out.append(DraftModule(_module_name(names[c], c), names[c], items, *of_module, propensity))
        return out, scored

    def control(self, size: PageSize, fusion: Fusion) -> tuple[list[DraftModule], ScoredCandidates]:
        """The same three modules for everybody, each without the items of those before it."""
        index, placed = self._index, dict[int, str]()
        out: list[DraftModule] = []
        for name, source, best in ((POPULAR, POPULAR_NOW, index.popular()), (NEW, FRESH, index.newest()))[: size.modules]:
            items = list(islice((key for key in best if key not in placed and self._eligibility.eligible(key)), size.per_module))
            out.append(DraftModule(name, None, Arrangement(items, [source] * len(items), list(range(len(items))), len(items), 0.0)))
            placed |= dict.fromkeys(items, name)
        if size.modules < len(CONTROL):
            return out, self._scored(placed, fusion)
        eligibility, quota = self._eligibility.without(placed), self._quota.scaled(self._quota.total)
        for_you = pool(index, eligibility, quota, size.per_module, self._share, self._rng)
        scored = self._scored(placed | dict.fromkeys(for_you.items(), FOR_YOU), fusion)
        ranked = [key for key in scored.order if key in for_you.sources]
        return [*out, DraftModule(FOR_YOU, None, for_you.arrange(ranked, self._share))], scored

    def _scored(self, module: Mapping[int, str], fusion: Fusion) -> ScoredCandidates:
        return self._scorer.score(module, self._state, fusion, module.get)

    def _category_name(self, category: int, candidates: CandidatePool) -> str:
        key = next(iter(candidates.sources))
        known = self._scorer.catalog.get(key)
        if known is None:
            raise ValueError(f"item {key:016x} of a category is not in the catalog: each change goes to the catalog and to its index")
        return next(name for name in known.item.categories if keys.key("category", name) == category)


def _module_name(category: str, key: int) -> str:
    """At most 64 characters, as names of modules are."""
    name = f"category:{category}"
    return name if len(name) <= 64 else f"category:{key:016x}"
