"""A request becomes a list: candidates, one filter, the model's probabilities, their sum by weights, a little chance.

Pure: everything it depends on is an argument, and chance comes from the seed, the request's id and its time. Given
candidates in another order are the same request. What was shown, why and with what probability leaves as an exposure.

A list is never filled up by what should not be in it: a short one says so. What is neither deleted nor in the catalog
may be named by a request (a product may run without a catalog); it is nobody's candidate otherwise, unless there is no
catalog at all.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.co_listening import past
from streams.core.join.events import MAX_ARMS, MAX_SLOTS, ArmDraw, Exposure, Id, ShortId
from streams.core.join.features_view import ItemCounts
from streams.core.join.settings import HOUR_MS, PartitionSettings
from streams.core.join.state import UserState
from streams.core.serving.audience import standing
from streams.core.serving.candidates import EXPLORE, GIVEN, CatalogIndex, EligibilityFilter, draw, retrieve, shuffled
from streams.core.serving.explain import Trace
from streams.core.serving.explore import arrange, given_above, propensities
from streams.core.serving.fusion import GAMMA, SCALE, WEIGHT, RequestError, Weights, chosen, within
from streams.core.serving.scoring import MAX_IDS, Look, Predict, Scorer, ServingRequest, SlateItem, told
from streams.core.serving.variety import ALL

if TYPE_CHECKING:
    from streams.core.learning.strategy_bandit import StrategyBandit

RANKED, TAIL, EXPLORE_MORE, POPULAR = "ranked", "tail", "explore", "popular"  # strategies
STRATEGIES = (RANKED, TAIL, EXPLORE_MORE, POPULAR)
AUTO = "auto"  # asks for one of `recommend.chosen`, drawn by what each has earned
MAX_PRESETS = 8
COLD, GUEST, SHORT, STALE = "cold", "guest", "short", "stale"  # flags
CHOICE = 1  # of the random numbers of a request: a choice takes none of those that the list is made with


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A way to rank that has a name: a strategy of its own. What it leaves out is as the settings have it."""

    weights: dict[str, float] = {}
    gamma_user: float | None = None
    gamma_item: float | None = None
    explore_share: float | None = None


class RecommendSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a list is put together."""

    weights: Weights = Weights()
    rank_scale: float = 2.0  # of the rank head: differences of this size are most of what it can say (MODEL.md section 1)
    gamma_user: float = 0.0  # share of the user's part taken away; the same for all of a list, so it matters between lists
    gamma_item: float = 0.7  # share of momentary popularity's part taken away: quality stays, fashion goes (MODEL.md section 4)
    tail_gamma_item: float = 1.0  # the same of the strategy `tail`: nothing of fashion is left
    popular_candidates: int = 130  # with the next two 200, which is what a request may take time for (DESIGN section 10)
    fresh_candidates: int = 50  # newest: what nobody has played yet can't be popular
    explore_candidates: int = 20  # random ones: the only way into a ranking for what is neither
    co_listened_candidates: int = 50  # what others played right after the user's last plays: in place of as many popular ones
    explore_share: float = 0.02  # of slots, at random: without it, what is never shown is never known (MODEL.md section 4)
    explore_share_more: float = 0.2  # the same of the strategy `explore`: ten times the usual, and four of five slots still ranked
    presets: dict[str, Preset] = {}  # further strategies by name: weights, gamma_user, gamma_item, explore_share; at most 8
    chosen: tuple[str, ...] = (RANKED, TAIL, EXPLORE_MORE)  # strategies that `auto` draws one of, by what each has earned
    no_repeat_window_ms: int = 6 * HOUR_MS  # shown or played within: not again; an evening. Bounded by partition.shown_limit
    max_k: int = 100  # items of one answer
    max_candidates: int = 500  # given in one request; more cost more than an answer may take

    def __post_init__(self) -> None:
        for field, value, (low, high) in (
            *((f"weights.{part}", weight, WEIGHT) for part, weight in msgspec.structs.asdict(self.weights).items()),
            *((name, getattr(self, name), GAMMA) for name in ("gamma_user", "gamma_item", "tail_gamma_item")),
            ("rank_scale", self.rank_scale, SCALE),
        ):
            if not low <= value <= high:
                raise ValueError(f"{field} must be in [{low:,g}, {high:,g}], got {value:g}")
        for name in ("explore_share", "explore_share_more"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        self._check_strategies()
        if not 1 <= self.max_k <= MAX_SLOTS:
            raise ValueError(f"max_k must be in [1, {MAX_SLOTS}], got {self.max_k}")
        if not 1 <= self.max_candidates <= MAX_IDS:
            raise ValueError(f"max_candidates must be in [1, {MAX_IDS:,}], got {self.max_candidates}")
        for name in ("co_listened_candidates", "popular_candidates", "fresh_candidates", "explore_candidates", "no_repeat_window_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def _check_strategies(self) -> None:
        if len(self.presets) > MAX_PRESETS:
            raise ValueError(f"at most {MAX_PRESETS} presets, got {len(self.presets)}")
        for name, preset in self.presets.items():
            if not re.fullmatch("[A-Za-z0-9_-]{1,64}", name) or name in (*STRATEGIES, AUTO, ALL):
                taken = ", ".join((*STRATEGIES, AUTO, ALL))
                raise ValueError(f"presets.{name}: a name of 1 to 64 letters, digits, - and _, and none of {taken}")
            try:
                chosen(self.weights, preset.weights)
                for gamma in ("gamma_user", "gamma_item"):
                    if getattr(preset, gamma) is not None:
                        within(gamma, getattr(preset, gamma), GAMMA)
                if preset.explore_share is not None:
                    within("explore_share", preset.explore_share, (0.0, 1.0))
            except RequestError as error:
                raise ValueError(f"presets.{name}: {error}") from None
        unknown = [name for name in self.chosen if name not in (*STRATEGIES, *self.presets)]
        if unknown or len(set(self.chosen)) < len(self.chosen) or not 2 <= len(self.chosen) <= MAX_ARMS:
            raise ValueError(
                f"chosen must name 2 to {MAX_ARMS} different strategies of {', '.join((*STRATEGIES, *self.presets))},"
                f" got {', '.join(self.chosen)}"
            )

    def way(self, strategy: str) -> Preset:
        """What a strategy does to the ranking; raises RequestError where there is none of that name."""
        if strategy not in STRATEGIES and strategy not in self.presets:
            raise RequestError("strategy", f"no such strategy {strategy!r}; one of {', '.join((*STRATEGIES, *self.presets, AUTO))}")
        preset = self.presets.get(strategy, Preset())
        usual = {TAIL: self.tail_gamma_item}.get(strategy, self.gamma_item)
        share = {POPULAR: 0.0, EXPLORE_MORE: self.explore_share_more}.get(strategy, self.explore_share)
        return Preset(
            weights=preset.weights,
            gamma_user=preset.gamma_user if preset.gamma_user is not None else self.gamma_user,
            gamma_item=preset.gamma_item if preset.gamma_item is not None else usual,
            explore_share=preset.explore_share if preset.explore_share is not None else share,
        )


class SlateRequest(ServingRequest, frozen=True, kw_only=True):
    """Body of a request for a list."""

    k: int = 10
    candidates: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS)] | None = None  # None = co-listened, popular, fresh and random ones
    strategy: ShortId | None = None  # ranked (default) | tail | explore | popular | a preset's name | auto: chosen by what they earned
    module: ShortId | None = None


class Slate(msgspec.Struct, frozen=True, kw_only=True):
    """A list as it is served."""

    request_id: str
    items: list[SlateItem]
    strategy: str
    flags: list[str]  # of cold (popularity orders, since no model has learned yet), guest, short (fewer than k), stale
    model_version: int | None
    model_age_ms: int


class ServedSlate(NamedTuple):
    """A list, and what is to be remembered of it."""

    answer: Slate
    exposure: Exposure | None  # to write down: nothing of guests, nothing where nothing is shown
    trace: Trace  # what the list can be explained by


@dataclass(slots=True)
class _Pool:
    """What may stand in a list."""

    sources: dict[int, str]  # of the candidates that are ranked
    names: dict[int, str]  # ids that the request gave
    items: int  # that an exploring slot draws from
    explores: list[bool]  # by slot
    drawn: list[int]  # for these slots, in order; candidates or not


class Recommender:
    """Makes lists out of explicit state. `catalog_index` moves forward in time with the requests; nothing else is changed."""

    def __init__(self, settings: RecommendSettings, partition: PartitionSettings, catalog: Catalog, catalog_index: CatalogIndex) -> None:
        self.settings, self.catalog_index = settings, catalog_index
        self.scorer = Scorer(settings, partition, catalog, catalog_index)

    def recommend(
        self, request: SlateRequest, request_id: str, user: UserState | None, item_counts: ItemCounts, predict: Predict | None,
        ts: int, seed: int, version: int | None = None, age_ms: int = 0, stale: bool = False, strategy_bandit: StrategyBandit | None = None,
        look: Look | None = None,
    ) -> ServedSlate:  # fmt: skip
        """The list. `user`: None of somebody who never came. `predict`: None where there is no model yet, as `version` 0, which
        has learned nothing: then popularity orders. `strategy_bandit`: of strategies, where a request asks for it; `look`: by
        what linear arms know who asks. Raises RequestError.
        """
        self._check(request)
        self.catalog_index.advance(ts)
        state = self.scorer.state(request, user, ts)
        chance = [seed, keys.once("request", request_id), ts]
        cold = predict is None or version == 0
        strategy, choice = request.strategy or RANKED, None
        if strategy == AUTO:
            if strategy_bandit is None:
                raise RequestError("strategy", f"nothing here chooses; name one of {', '.join(self.settings.chosen)}")
            uniform = float(np.random.default_rng([*chance, CHOICE]).random())
            vector = self.scorer.vector(request, state, item_counts, look if strategy_bandit.uses_vector("list") and not cold else None, ts)
            strategy, choice = strategy_bandit.choose("list", *standing(state, self.scorer.view, ts), uniform, vector)
        way = self.settings.way(strategy)
        fusion = self.scorer.fusion(request, way)
        gate = EligibilityFilter(self.catalog_index, self.scorer.blocked(request, state, ts))

        share = way.explore_share or 0.0
        pool = self._pool(request, state, gate, share, np.random.default_rng(chance))
        everything = {*pool.sources, *pool.drawn}
        if predict is None or cold or strategy == POPULAR:
            scored = self.scorer.popular(everything, item_counts, ts)
        else:
            scored = self.scorer.ranked(everything, request, state, item_counts, predict, fusion, ts, lambda _: request.module)
        ranked = [key for key in scored.order if key in pool.sources]
        listed = arrange(ranked, pool.drawn, pool.explores)
        rank = {key: n for n, key in enumerate(ranked)}
        ranks = [rank.get(key) for key in listed]
        chances = propensities(ranks, pool.items, share)
        sources = [EXPLORE if explores else pool.sources[key] for key, explores in zip(listed, pool.explores, strict=True)]
        items = self.scorer.items(listed, sources, chances, scored, pool.names)
        flags = {COLD: cold, GUEST: request.user_id is None, SHORT: len(items) < request.k, STALE: stale}
        answer = Slate(
            request_id=request_id, items=items, strategy=strategy, flags=sorted(f for f, holds in flags.items() if holds),
            model_version=version, model_age_ms=age_ms,
        )  # fmt: skip
        trace = Trace(
            ts=ts, user_id=request.user_id, strategy=strategy, flags=answer.flags, model_version=version,
            items=[i.item_id for i in items], sources=sources, propensities=chances, scores=[i.score for i in items],
            numbers=told(scored, listed, fusion, request.user_id is None), modules=[request.module] * len(items), choice=choice,
        )  # fmt: skip
        given = given_above(ranks, pool.items, share) if request.user_id is not None else []  # of guests nothing is written down
        return ServedSlate(answer, self._exposure(request, answer, listed, given, choice, item_counts, ts), trace)

    def name(self, key: int) -> str | None:
        """The id of an item that is known."""
        return self.scorer.name(key)

    def _pool(self, request: SlateRequest, state: UserState, gate: EligibilityFilter, share: float, rng: np.random.Generator) -> _Pool:
        """Candidates, and what chance decides before anything is scored."""
        if request.candidates is not None:
            given = {keys.key("item", item_id): item_id for item_id in request.candidates}
            names = {key: item_id for key, item_id in given.items() if gate.open(key)}
            explores = rng.random(min(request.k, len(names))) < share
            return _Pool(dict.fromkeys(names, GIVEN), names, len(names), explores.tolist(), shuffled(names, int(explores.sum()), rng))
        s, candidate_index = (
            self.settings,
            self.catalog_index.of(keys.key("domain", request.domain) if request.domain is not None else None),
        )
        items = gate.count(candidate_index)
        following = self.catalog_index.followers.after(past(state.liked))
        sources = retrieve(
            candidate_index,
            gate,
            s.popular_candidates,
            s.fresh_candidates,
            s.explore_candidates,
            request.k,
            rng,
            following,
            s.co_listened_candidates,
        )
        explores = rng.random(min(request.k, items)) < share
        return _Pool(sources, {}, items, explores.tolist(), draw(candidate_index, gate, int(explores.sum()), rng))

    def _check(self, request: SlateRequest) -> None:
        if not 1 <= request.k <= self.settings.max_k:
            raise RequestError("k", f"must be in [1, {self.settings.max_k}], got {request.k}")
        if request.candidates is not None and len(request.candidates) > self.settings.max_candidates:
            raise RequestError("candidates", f"at most {self.settings.max_candidates:,}, got {len(request.candidates):,}")
        self.scorer.check(request)

    def _exposure(
        self, request: SlateRequest, answer: Slate, listed: list[int], given: list[float], choice: ArmDraw | None, item_counts: ItemCounts,
        ts: int,
    ) -> Exposure | None:  # fmt: skip
        if request.user_id is None or not answer.items:
            return None
        return Exposure(
            ts=ts, user_id=request.user_id, request_id=answer.request_id,
            slots=tuple(self.scorer.slots(listed, answer.items, given, item_counts, ts, request.module)), domain=request.domain,
            strategy=answer.strategy, choice=choice, context=request.context,
            model_version=answer.model_version or 0, model_age_ms=answer.model_age_ms,
        )  # fmt: skip
