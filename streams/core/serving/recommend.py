"""A request becomes a slate: candidates, one filter, the model's probabilities, their weighted sum, exploration.

Pure: everything it depends on is an argument, and random numbers come from the seed, the request's id and its time. Given
candidates in another order are the same request. What is shown, why and with which propensity leaves as an exposure.

A slate is never filled up by what should not be in it: a short one has a flag. With a catalog, what it does not hold is in no
slate, named or not, unless the request says so (`unknown`); without one, what events name is a candidate, and any item may be named.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from online_model import own_plays
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.co_listening import Nearness
from streams.core.join.events import MAX_ARMS, MAX_SLOTS, Exposure, Id, ShortId
from streams.core.join.features_view import ItemCounts
from streams.core.join.keys import HOUR_MS
from streams.core.join.settings import PartitionSettings
from streams.core.json_fields import about
from streams.core.serving.catalog_index import CatalogIndex
from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.explain import Trace
from streams.core.serving.fusion import Fusion, Gamma, RequestError, Scale, Weights, merged_weights
from streams.core.serving.index import CandidateIndex
from streams.core.serving.model_view import NO_MODEL, ModelView
from streams.core.serving.requests import MAX_IDS, MAX_PLAYS, Flag, RequestState, ServingRequest
from streams.core.serving.retrieval import Arrangement, CandidatePool, Listener, Source, SourceQuota, alike, given_pool, pool
from streams.core.serving.scoring import ScoredCandidates, Scorer, SlateItem, exposure, trace
from streams.core.shaping.boosts import Boosts
from streams.core.shaping.item_filter import ItemFilter
from streams.core.shaping.placement import DrawPool, Exploring, Placement, PlacementRules, between_pins, place_by_rules
from streams.core.state.rows import UserState

RANKED, TAIL, EXPLORE_MORE, POPULAR = "ranked", "tail", "explore", "popular"  # strategies
STRATEGIES = (RANKED, TAIL, EXPLORE_MORE, POPULAR)
AUTO = "auto"  # requests one of `recommend.chosen`, drawn by the strategy bandit
ALL = "all"  # stands for every strategy of a surface in figures, so no preset has this name
MAX_PRESETS = 8
PLACES = 2  # of the random numbers of a request: those that places take under rules

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
ExploreBy = Literal["uniform", "belief"]


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A strategy that the settings name. What it leaves out is as the settings have it."""

    weights: dict[str, float] = {}
    gamma_user: Gamma | None = None
    gamma_item: Gamma | None = None
    explore_share: Share | None = None
    explore_by: ExploreBy | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """What a strategy does to a slate, all of it set."""

    weights: dict[str, float]  # in place of the settings'
    gamma_user: float
    gamma_item: float
    explore_share: float
    explore_by: ExploreBy


class RecommendSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a slate is made."""

    weights: Weights = Weights()
    rank_scale: Scale = 2.0  # of the rank head: differences of this size are most of what it can say (MODEL.md section 1)
    gamma_user: Gamma = 0.0  # share of the user's part taken away; the same for all of a slate, so it matters between slates
    gamma_item: Gamma = 0.7  # share of momentary popularity's part taken away: quality stays, fashion goes (MODEL.md section 4)
    tail_gamma_item: Gamma = 1.0  # the same of the strategy `tail`: nothing of fashion is left
    popular_candidates: Count = 240  # with the next two 300, which is what a request may take time for (DESIGN section 10)
    fresh_candidates: Count = 40  # newest: what nobody has played yet can't be popular
    explore_candidates: Count = 20  # random ones: the only way into a ranking for what is neither
    own_candidates: Count = 50  # what the user took before, the newest first, in place of as many popular ones
    co_listened_candidates: Count = 150  # what others took close to the user's last plays, in place of as many popular ones
    vector_candidates: Count = 30  # by the product of the user's vector with the item's, in place of as many popular ones
    artist_candidates: Count = 0  # of the artists of what the user took, in place of as many popular ones; requests may name the source
    category_candidates: Count = 0  # of its categories, the same
    explore_share: Share = 0.02  # of positions, at random: without it, nothing is learned of what is never shown (MODEL.md section 4)
    explore_share_more: Share = 0.2  # the same of the strategy `explore`: ten times the usual, and four of five positions still ranked
    # how: each item alike; or by its chance to be the best, as far as the model believes something of items (`model.beliefs`)
    explore_by: ExploreBy = "uniform"
    explore_floor: Share = 0.02  # of positions that explore by belief, drawn uniformly all the same: nothing is out of reach
    presets: dict[str, Preset] = {}  # further strategies by name: weights, gamma_user, gamma_item, explore_share; at most 8
    chosen: tuple[str, ...] = (RANKED, TAIL, EXPLORE_MORE)  # strategies that `auto` draws one of, by the strategy bandit
    no_repeat_window_ms: Count = 6 * HOUR_MS  # shown or played within: not again; an evening. Flag `repeats` where a state forgets sooner
    max_k: Annotated[int, Meta(ge=1, le=MAX_SLOTS)] = 100  # items of one slate
    max_candidates: Annotated[int, Meta(ge=1, le=MAX_IDS)] = 500  # given in one request; more take longer than a request may

    def __post_init__(self) -> None:
        if len(self.presets) > MAX_PRESETS:
            raise ValueError(f"at most {MAX_PRESETS} presets, got {len(self.presets)}")
        for name, preset in self.presets.items():
            taken = (*STRATEGIES, AUTO, ALL)
            if not re.fullmatch("[A-Za-z0-9_-]{1,64}", name) or name in taken:
                raise ValueError(f"presets.{name}: a name of 1 to 64 letters, digits, - and _, and none of {', '.join(taken)}")
            try:
                merged_weights(self.weights, preset.weights)
            except RequestError as error:
                raise ValueError(f"presets.{name}: {error}") from None
        unknown = [name for name in self.chosen if name not in (*STRATEGIES, *self.presets)]
        if unknown or len(set(self.chosen)) < len(self.chosen) or not 2 <= len(self.chosen) <= MAX_ARMS:
            raise ValueError(
                f"chosen must name 2 to {MAX_ARMS} different strategies of {', '.join((*STRATEGIES, *self.presets))},"
                f" got {', '.join(self.chosen)}"
            )

    def ranking(self, strategy: str) -> Ranking:
        """Of a strategy by its name. Raises RequestError where there is none of that name.

        >>> RecommendSettings(presets={"wild": Preset(explore_share=0.5)}).ranking("wild")
        Ranking(weights={}, gamma_user=0.0, gamma_item=0.7, explore_share=0.5, explore_by='uniform')
        """
        if strategy not in STRATEGIES and strategy not in self.presets:
            raise RequestError("strategy", f"no such strategy {strategy!r}; one of {', '.join((*STRATEGIES, *self.presets, AUTO))}")
        preset = self.presets.get(strategy, Preset())
        gamma_item = self.tail_gamma_item if strategy == TAIL else self.gamma_item
        share = {POPULAR: 0.0, EXPLORE_MORE: self.explore_share_more}.get(strategy, self.explore_share)
        return Ranking(
            weights=preset.weights,
            gamma_user=preset.gamma_user if preset.gamma_user is not None else self.gamma_user,
            gamma_item=preset.gamma_item if preset.gamma_item is not None else gamma_item,
            explore_share=preset.explore_share if preset.explore_share is not None else share,
            explore_by=preset.explore_by or self.explore_by,
        )

    def quota(self) -> SourceQuota:
        """Candidates of a slate by source."""
        return SourceQuota(
            self.popular_candidates,
            self.fresh_candidates,
            self.explore_candidates,
            self.co_listened_candidates,
            self.own_candidates,
            self.vector_candidates,
            self.artist_candidates,
            self.category_candidates,
        )


class SlateRequest(ServingRequest, frozen=True, kw_only=True):
    """Body of a request for a slate."""

    k: Annotated[int, Meta(ge=1, le=MAX_SLOTS), about("items wanted; at most `recommend.max_k`")] = 10
    candidates: Annotated[
        Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS)] | None,
        about("rank these; null: as `sources` says. At most `recommend.max_candidates`"),
    ] = None
    unknown: Annotated[Literal["refuse", "allow"], about("candidates that the catalog does not hold; without a catalog all are taken")] = (
        "refuse"
    )
    strategy: Annotated[
        ShortId | None, about("ranked (default), tail, explore, popular, a preset's name, or auto: drawn by the strategy bandit")
    ] = None
    module: Annotated[ShortId | None, about("name of the place that the list is for; a feature of the ranker")] = None
    seed_items: Annotated[
        tuple[Id, ...],
        Meta(max_length=MAX_PLAYS),
        about("a radio from these, none of which comes: candidates near to them in place of popular ones; the first counts most"),
    ] = ()
    sources: Annotated[
        dict[Source, Share],
        about("where candidates come from, each with its share of the pool; none: as `recommend.*_candidates` say"),
    ] = {}
    filter: Annotated[
        ItemFilter | None,
        about("conditions on items, met by all of the list: by `candidates`, by `pins`, and by what is drawn at random too"),
    ] = None
    boosts: Annotated[Boosts | None, about("what is added to the scores of candidates")] = None
    pins: Annotated[
        Annotated[dict[Id, Annotated[int, Meta(ge=0, lt=MAX_SLOTS)]], Meta(max_length=MAX_SLOTS)],
        about("item to place, as `position` from 0 on: it stands there whatever its score, if it may be shown"),
    ] = {}
    per_artist: Annotated[Annotated[int, Meta(ge=1)] | None, about("items of one artist at most, pinned ones among them; null: any")] = None
    spacing: Annotated[
        Annotated[int, Meta(ge=2, le=MAX_SLOTS)] | None,
        about("of so many places in a row, at most one is an artist's, pins aside; null: an artist's items may stand together"),
    ] = None


class Slate(msgspec.Struct, frozen=True, kw_only=True):
    """A slate as it is served."""

    request_id: Annotated[str, about("send it with every act on these items")]
    items: Annotated[list[SlateItem], about("in order")]
    strategy: Annotated[str, about("that made it")]
    flags: Annotated[list[Flag], about("what to know of it")]
    model_version: Annotated[int | None, about("that scored it; null: popularity ordered")]
    model_age_ms: Annotated[int, about("since the learner was last heard of")]


class ServedSlate(NamedTuple):
    """A slate, and what is kept of it."""

    slate: Slate
    exposure: Exposure | None  # to write down: None for guests and dry runs, and where nothing is shown
    trace: Trace  # to explain the slate by


class Recommender:
    """Makes slates from explicit state. `catalog_index` moves forward in time with the requests; nothing else is changed."""

    def __init__(self, settings: RecommendSettings, partition: PartitionSettings, catalog: Catalog, catalog_index: CatalogIndex) -> None:
        self.settings, self.catalog_index = settings, catalog_index
        self.scorer = Scorer(settings, partition, catalog, catalog_index)

    def recommend(
        self, request: SlateRequest, request_id: str, user: UserState | None, item_counts: ItemCounts, model: ModelView, ts: int, seed: int
    ) -> ServedSlate:
        """The slate of a request. `user`: None of a guest, and of a user without events. Raises RequestError."""
        self._check(request)
        state = self.scorer.state(request, request_id, user, item_counts, model, ts, seed)
        strategy, choice = request.strategy or RANKED, None
        if strategy == AUTO:
            if model.bandit is None:
                raise RequestError("strategy", f"nothing here chooses; name one of {', '.join(self.settings.chosen)}")
            strategy, choice = state.choose_strategy("list", self.scorer.view)
        ranking = self.settings.ranking(strategy)
        fusion = self.scorer.fusion(request, ranking)
        eligibility = self.scorer.eligibility(state, request.unknown == "allow").without(_keys(request.seed_items))
        rules = PlacementRules(request.k, self._pins(request, eligibility), request.per_artist, request.spacing or 1)
        eligibility = eligibility.without(rules.pins.values())
        index = self._index(request, state)
        candidates = self._pool(request, state, eligibility, index, rules, ranking.explore_share)

        def score(items: set[int], watched: bool) -> ScoredCandidates:
            if strategy == POPULAR:
                scored = self.scorer.by_popularity(items, state)
            else:
                scored = self.scorer.score(items, state, fusion, lambda _: request.module, watched)
            return scored.boosted(request.boosts.added(scored.order, self.scorer.catalog)) if request.boosts else scored

        scored = score({*candidates.items(), *rules.pins.values()}, True)
        ranked = [key for key in scored.order if key in candidates.sources]
        arrangement: Arrangement | Placement
        exploring = self._exploring(ranking, scored, ranked, fusion, request.k)
        if rules.by_artist or exploring.chances is not None:
            drawn_from = self._draw_pool(candidates, index, eligibility)
            arrangement = place_by_rules(ranked, candidates.sources, rules, drawn_from, exploring, state.rng(PLACES))
            scored = scored.also(score(set(arrangement.items) - scored.score.keys(), False))
        else:
            by_rank = candidates.arrange(ranked, ranking.explore_share)
            arrangement = between_pins(by_rank.placement(), rules) if rules.pins else by_rank
        pinned = {keys.key("item", item_id): item_id for item_id in request.pins}
        items = self.scorer.slate_items(arrangement, scored, {**candidates.names, **pinned})
        in_place = sum(place < len(items) and arrangement.items[place] == key for place, key in rules.pins.items())
        flags = self.scorer.flags(state) | {
            Flag.REPEATS: bool(items) and self.scorer.may_repeat(state), Flag.SHORT: len(items) < request.k,
            Flag.UNKNOWN_CANDIDATES: self._has_unknown(request),
            Flag.UNKNOWN_ITEMS: not all(self.catalog_index.known(key) for key in _keys(request.seed_items)),
            Flag.NO_MATCH: request.filter is not None and candidates.size == 0 and not rules.pins,
            Flag.PIN_MISSED: in_place < len(request.pins), Flag.NO_PROPENSITY: any(item.propensity is None for item in items),
        }  # fmt: skip
        slate = Slate(
            request_id=request_id, items=items, strategy=strategy, flags=sorted(flag for flag, holds in flags.items() if holds),
            model_version=model.version, model_age_ms=model.age_ms,
        )  # fmt: skip
        model_trace = scored.trace(arrangement.items, fusion, state.guest)
        boosts = [scored.boosts.get(key, 0.0) for key in arrangement.items] if scored.boosts else []
        return ServedSlate(
            slate,
            exposure(state, strategy, choice, self.scorer.exposed_items(arrangement, items, state, request.module)),
            trace(state, strategy, choice, slate.flags, [(request.module, item) for item in items], model_trace, boosts),
        )

    def candidates(
        self, request: SlateRequest, request_id: str, user: UserState | None, item_counts: ItemCounts, ts: int, seed: int,
        model: ModelView = NO_MODEL,
    ) -> dict[int, str]:  # fmt: skip
        """Keys of what would be ranked for a request, with the source of each. Raises RequestError."""
        state = self.scorer.state(request, request_id, user, item_counts, model, ts, seed)
        rules = PlacementRules(request.k, {}, None, 1)
        return self._pool(request, state, self.scorer.eligibility(state), self._index(request, state), rules, 0.0).sources

    def name(self, key: int) -> str | None:
        """The id of an item that is known."""
        return self.scorer.name(key)

    def _index(self, request: SlateRequest, state: RequestState) -> CandidateIndex:
        """What candidates come from, where the request names none."""
        if request.filter is None:
            return self.catalog_index.of_domain(state.domain)
        return self.catalog_index.matching(state.domain, request.filter)

    def _pool(
        self, request: SlateRequest, state: RequestState, eligibility: EligibilityFilter, index: CandidateIndex, rules: PlacementRules,
        explore_share: float,
    ) -> CandidatePool:  # fmt: skip
        """For the places that no item is pinned to. Where rules say what may stand in a place, nothing is drawn before they are known."""
        rng, places, share = state.rng(), request.k - len(rules.pins), 0.0 if rules.by_artist else explore_share
        if request.candidates is not None:
            named = {keys.key("item", item_id): item_id for item_id in request.candidates}
            eligible = {key: item_id for key, item_id in named.items() if eligibility.eligible(key) and self._wanted(request, key)}
            one = CandidateIndex({}, dict.fromkeys(eligible, 0), self.catalog_index.originals, eligible)  # of the versions of each
            return given_pool({key: eligible[key] for key in one.items}, places, share, rng)
        quota, near, own = self.settings.quota(), self.scorer.nearness(state), own_plays.taken(state.user.liked, state.ts)
        seeds = _keys(request.seed_items)
        liked = seeds or own
        if request.sources:
            quota = quota.shared(request.sources)
        if seeds:
            quota = quota if request.sources else replace(quota, co_listened=max(quota.popular - quota.vectors, 1 + quota.popular // 2))
            near, own = Nearness([self.catalog_index.co_listening.row(key) for key in seeds], state.ts, True), []
        vectors = self.scorer.by_vectors(state, seeds) if quota.vectors else ()
        artists, categories = self._of_artists(liked), self._of_categories(liked, state.domain)
        sources = (own, near.best(), vectors, artists, categories)
        listener = Listener(*(map(index.offered, items) for items in sources))
        return pool(index, eligibility, quota, places, share, rng, listener)

    def _exploring(self, ranking: Ranking, scored: ScoredCandidates, ranked: list[int], fusion: Fusion, places: int) -> Exploring:
        """How positions explore: by belief where the strategy says so and the model believes something."""
        believed = scored.beliefs(ranked, fusion) if ranking.explore_by == "belief" and ranking.explore_share else None
        if believed is None:
            return Exploring(ranking.explore_share)
        from bandit.best_of_many import BestOfMany  # scipy, which nothing else here needs

        return Exploring(ranking.explore_share, BestOfMany(ranked, *believed, places).among, self.settings.explore_floor)

    def _of_artists(self, liked: Iterable[int]) -> Iterator[int]:
        """Items of the artists of these, each artist's most popular first."""
        index, catalog = self.catalog_index, self.scorer.catalog

        def items(artist: int) -> list[int]:
            return sorted(index.of_artist(artist), key=lambda key: (-index.popularity(key, index.now_ms), key))

        return alike(liked, lambda key: (known.artist,) if (known := catalog.get(key)) and known.artist else (), items)

    def _of_categories(self, liked: Iterable[int], domain: int | None) -> Iterator[int]:
        """The most popular items of the categories of these."""
        catalog, indexes = self.scorer.catalog, self.catalog_index.categories(domain)
        popular = {category: index.popular for category, index in indexes.items()}
        return alike(liked, lambda key: known.categories if (known := catalog.get(key)) else (), lambda key: popular.get(key, tuple)())

    def _draw_pool(self, candidates: CandidatePool, index: CandidateIndex, eligibility: EligibilityFilter) -> DrawPool:
        """The same, to draw from by rules."""

        def artist(key: int) -> int:
            known = self.scorer.catalog.get(key)
            return known.artist if known else 0

        if candidates.names:
            names = sorted(candidates.names)
            return DrawPool(names, len(names), lambda _: True, cache(lambda of: [key for key in names if artist(key) == of]), artist)
        of_artist = self.catalog_index.of_artist
        eligible = cache(lambda of: [key for key in of_artist(of) if key in index and eligibility.eligible(key)])
        return DrawPool(index.items, candidates.size, eligibility.eligible, eligible, artist)

    def _pins(self, request: SlateRequest, eligibility: EligibilityFilter) -> dict[int, int]:
        """By place, of those that may be shown."""
        out = dict[int, int]()
        for item_id, place in sorted(request.pins.items(), key=lambda pin: pin[1]):
            key = keys.key("item", item_id)
            if eligibility.without(out.values()).eligible(key) and self._wanted(request, key):
                out[place] = key
        return out

    def _wanted(self, request: SlateRequest, key: int) -> bool:
        return request.filter is None or self.catalog_index.matches(key, request.filter)

    def _has_unknown(self, request: SlateRequest) -> bool:
        """Whether candidates of the request are left out since the catalog does not hold them."""
        if request.candidates is None or request.unknown == "allow":
            return False
        return any(not self.catalog_index.known(keys.key("item", item_id)) for item_id in request.candidates)

    def _check(self, request: SlateRequest) -> None:
        if not 1 <= request.k <= self.settings.max_k:
            raise RequestError("k", f"must be in [1, {self.settings.max_k}], got {request.k}")
        taken = dict[int, str]()
        for item_id, place in request.pins.items():
            if place >= request.k:
                raise RequestError(
                    "pins", f"{item_id[:40]} is pinned to {place}, and the last of k = {request.k} places is {request.k - 1}"
                )
            if taken.setdefault(place, item_id) != item_id:
                raise RequestError("pins", f"{taken[place][:40]} and {item_id[:40]} are both pinned to {place}")
        if request.sources and not sum(request.sources.values()) > 0:
            raise RequestError("sources", "at least one share must be above 0")
        if request.candidates is not None and len(request.candidates) > self.settings.max_candidates:
            raise RequestError("candidates", f"at most {self.settings.max_candidates:,}, got {len(request.candidates):,}")


def _keys(items: tuple[str, ...]) -> list[int]:
    return list(dict.fromkeys([keys.key("item", item_id) for item_id in items]))
