"""A request becomes a list: candidates, one filter, the model's probabilities, their sum by weights, a little chance.

Pure: everything it depends on is an argument, and chance comes from the seed, the request's id and its time. Given
candidates in another order are the same request. What was shown, why and with what probability leaves as an exposure.

A list is never filled up by what should not be in it: a short one says so. What is neither deleted nor in the catalog
may be named by a request (a product may run without a catalog); it is nobody's candidate otherwise, unless there is no
catalog at all.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta

from online_model.batch import Batch, of_candidates
from online_model.features import POPULARITY_HALF_LIVES_H, TASKS
from online_model.history import BEHAVIOUR
from streams.core import keys
from streams.core.candidates import EXPLORE, GIVEN, POPULAR_HALF_LIFE_H, Gate, Shelves, draw, retrieve, shuffled
from streams.core.catalog import Catalog
from streams.core.events import MAX_ARMS, MAX_SLOTS, Action, Context, Event, EventTime, Exposure, Id, ShortId, Slot
from streams.core.explain import Trace, numbers
from streams.core.explore import arrange, propensities
from streams.core.fusion import GAMMA, SCALE, WEIGHT, Fusion, RequestError, Weights, chosen, fuse, values, within
from streams.core.partition import Partition
from streams.core.records import Arrived
from streams.core.settings import HOUR_MS, PartitionSettings
from streams.core.state import Slot as Half
from streams.core.state import Tables, UserPart, UserState
from streams.core.view import NEVER, ItemCounts, Moment, View, features

if TYPE_CHECKING:  # the core starts without torch
    from online_model.trainer import Prediction

RANKED, TAIL, EXPLORE_MORE, POPULAR = "ranked", "tail", "explore", "popular"  # strategies
STRATEGIES = (RANKED, TAIL, EXPLORE_MORE, POPULAR)
AUTO = "auto"  # asks for one of `recommend.chosen`, drawn by what each has earned
MAX_PRESETS = 8
COLD, GUEST, SHORT, STALE = "cold", "guest", "short", "stale"  # flags
MAX_IDS = 1_000  # given candidates or excluded items of a request, whatever the settings say
MAX_PLAYS = 50  # acts of a guest: as many as a history holds
_SHOWN = np.dtype([("item", "<u8"), ("ts", "<i8")])  # rows of UserState.shown
_POPULAR_COLUMN = POPULARITY_HALF_LIVES_H.index(POPULAR_HALF_LIFE_H)

Array = np.ndarray
Predict = Callable[[Batch, float, float], "Prediction"]  # a batch, gamma_user, gamma_item


class Preset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way to rank that has a name: a strategy of its own. What it leaves out is as the settings have it."""

    weights: dict[str, float] = {}
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
    explore_share: float = 0.02  # of slots, at random: without it, what is never shown is never known (MODEL.md section 4)
    explore_share_more: float = 0.2  # the same of the strategy `explore`: ten times the usual, and four of five slots still ranked
    presets: dict[str, Preset] = {}  # further strategies by name: weights, gamma_item, explore_share; at most 8
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
        for name in ("popular_candidates", "fresh_candidates", "explore_candidates", "no_repeat_window_ms"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    def _check_strategies(self) -> None:
        if len(self.presets) > MAX_PRESETS:
            raise ValueError(f"at most {MAX_PRESETS} presets, got {len(self.presets)}")
        for name, preset in self.presets.items():
            if not 1 <= len(name) <= 64 or name in (*STRATEGIES, AUTO):
                raise ValueError(f"presets.{name}: a name of 1 to 64 characters, none of {', '.join((*STRATEGIES, AUTO))}")
            try:
                chosen(self.weights, preset.weights)
                if preset.gamma_item is not None:
                    within("gamma_item", preset.gamma_item, GAMMA)
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


class GuestAct(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest did lately, as the request tells it; stored nowhere."""

    item_id: Id
    action: Action = Action.PLAY
    ts: EventTime | None = None  # None = just now
    full: bool | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Body of a request for a list."""

    user_id: Id | None = None  # None = a guest
    plays: Annotated[tuple[GuestAct, ...], Meta(max_length=MAX_PLAYS)] = ()  # a guest's, in time order
    k: int = 10
    domain: ShortId | None = None  # of what is asked for; given candidates are taken as they are
    context: Context = {}
    candidates: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS)] | None = None  # None = popular, fresh and random ones
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS)] = ()
    weights: dict[str, float] | None = None  # task, or rank -> weight, in place of the settings'
    rank_scale: float | None = None  # in place of the settings', as the next two
    gamma_user: float | None = None  # share of the user's part that is taken away
    gamma_item: float | None = None  # share of momentary popularity's part that is taken away; the strategy's own otherwise
    strategy: ShortId | None = None  # ranked (default) | tail | popular
    request_id: ShortId | None = None
    module: ShortId | None = None


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One item of an answer."""

    item_id: str
    position: int
    score: float  # sum of weight x probability, and of the rank head's part; where popularity orders, the decayed count of a day
    source: str  # given | popular | fresh | explore (drawn at random, into the ranking or into its slot)
    propensity: float  # probability of this item in this slot, given the candidates
    probabilities: dict[str, float] | None  # by task, after what gamma took away; None where popularity orders


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A list as it is served."""

    request_id: str
    items: list[Ranked]
    strategy: str
    flags: list[str]  # of cold (popularity orders, since no model has learned yet), guest, short (fewer than k), stale
    model_version: int | None
    model_age_ms: int


class Made(NamedTuple):
    """A list, and what is to be remembered of it."""

    answer: Answer
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


@dataclass(slots=True)
class _Judged:
    """What the model said of all candidates, and what it saw."""

    prediction: Prediction
    values: Array  # float64 [B, T + 1]
    part: UserPart
    slots: list[Half]


@dataclass(slots=True)
class _Scored:
    """Candidates in order."""

    order: list[int]  # best first
    score: dict[int, float]
    place: dict[int, int]  # of a candidate in what follows
    judged: _Judged | None  # None where popularity orders


class Recommender:
    """Makes lists out of explicit state. `shelves` moves forward in time with the requests; nothing else is changed."""

    def __init__(self, settings: RecommendSettings, partition: PartitionSettings, catalog: Catalog, shelves: Shelves) -> None:
        self.settings, self.catalog, self.shelves = settings, catalog, shelves
        self._partition = partition
        self._view = View(partition)

    def recommend(
        self, request: Request, request_id: str, user: UserState | None, item_counts: ItemCounts, predict: Predict | None,
        ts: int, seed: int, version: int | None = None, age_ms: int = 0, stale: bool = False,
    ) -> Made:  # fmt: skip
        """The list. `user`: None of somebody who never came. `predict`: None where there is no model yet, as `version` 0, which
        has learned nothing: then popularity orders. Raises RequestError.
        """
        self._check(request)
        strategy = self._strategy(request)
        fusion = self._fusion(request, strategy)
        cold = predict is None or version == 0
        self.shelves.advance(ts)
        rng = np.random.default_rng([seed, keys.once("request", request_id), ts])
        state = (user or NEVER) if request.user_id is not None else self._guest(request.plays, ts)
        gate = Gate(self.shelves, self._blocked(request, state, ts))

        share = 0.0 if strategy == POPULAR else self.settings.explore_share
        pool = self._pool(request, gate, share, rng)
        everything = sorted({*pool.sources, *pool.drawn})
        if predict is None or cold or strategy == POPULAR:
            scored = self._popular(everything, item_counts, ts)
        else:
            scored = self._ranked(everything, request, state, item_counts, predict, fusion, ts)
        ranked = [key for key in scored.order if key in pool.sources]
        listed = arrange(ranked, pool.drawn, pool.explores)
        rank = {key: n for n, key in enumerate(ranked)}
        chances = propensities([rank.get(key) for key in listed], pool.items, share)
        by_task = scored.judged.prediction.probabilities if scored.judged else None
        items = [
            Ranked(
                item_id=pool.names.get(key) or self._name(key),
                position=n,
                score=scored.score[key],
                source=EXPLORE if pool.explores[n] else pool.sources[key],
                propensity=chances[n],
                probabilities=dict(zip(TASKS, by_task[scored.place[key]].tolist(), strict=True)) if by_task is not None else None,
            )
            for n, key in enumerate(listed)
        ]
        flags = {COLD: cold, GUEST: request.user_id is None, SHORT: len(items) < request.k, STALE: stale}
        answer = Answer(
            request_id=request_id, items=items, strategy=strategy, flags=sorted(f for f, holds in flags.items() if holds),
            model_version=version, model_age_ms=age_ms,
        )  # fmt: skip
        exposure = self._exposure(request, answer, listed, item_counts, ts)
        return Made(answer, exposure, self._trace(request, answer, listed, scored, fusion, ts))

    def _pool(self, request: Request, gate: Gate, share: float, rng: np.random.Generator) -> _Pool:
        """Candidates, and what chance decides before anything is scored."""
        if request.candidates is not None:
            given = {keys.key("item", item_id): item_id for item_id in request.candidates}
            names = {key: item_id for key, item_id in given.items() if gate.open(key)}
            explores = rng.random(min(request.k, len(names))) < share
            return _Pool(dict.fromkeys(names, GIVEN), names, len(names), explores.tolist(), shuffled(names, int(explores.sum()), rng))
        s, shelf = self.settings, self.shelves.of(keys.key("domain", request.domain) if request.domain is not None else None)
        items = gate.count(shelf)
        sources = retrieve(shelf, gate, s.popular_candidates, s.fresh_candidates, s.explore_candidates, request.k, rng)
        explores = rng.random(min(request.k, items)) < share
        return _Pool(sources, {}, items, explores.tolist(), draw(shelf, gate, int(explores.sum()), rng))

    def _check(self, request: Request) -> None:
        if not 1 <= request.k <= self.settings.max_k:
            raise RequestError("k", f"must be in [1, {self.settings.max_k}], got {request.k}")
        if request.candidates is not None and len(request.candidates) > self.settings.max_candidates:
            raise RequestError("candidates", f"at most {self.settings.max_candidates:,}, got {len(request.candidates):,}")
        if request.user_id is not None and request.plays:
            raise RequestError("plays", "only of a guest; what a user did comes as events")

    def _strategy(self, request: Request) -> str:
        strategy = request.strategy or RANKED
        if strategy not in STRATEGIES:
            raise RequestError("strategy", f"no such strategy {strategy!r}; one of {', '.join(STRATEGIES)}")
        return strategy

    def _fusion(self, request: Request, strategy: str) -> Fusion:
        """What the request asks for, else what the strategy does, which is what the settings say."""
        s = self.settings
        asked = {
            "rank_scale": (request.rank_scale, s.rank_scale, SCALE),
            "gamma_user": (request.gamma_user, s.gamma_user, GAMMA),
            "gamma_item": (request.gamma_item, s.tail_gamma_item if strategy == TAIL else s.gamma_item, GAMMA),
        }
        more = {name: within(name, wanted, bounds) if wanted is not None else usual for name, (wanted, usual, bounds) in asked.items()}
        return Fusion(chosen(s.weights, request.weights), **more)

    def _guest(self, plays: Iterable[GuestAct], ts: int) -> UserState:
        """A guest's acts through a partition of their own, which is forgotten: seen by the very code that sees users."""
        acts = [
            Event(ts=min(ts, a.ts if a.ts is not None else ts), user_id=GUEST, item_id=a.item_id, action=a.action, full=a.full)
            for a in plays
        ]
        if not acts:
            return NEVER
        acts.sort(key=lambda act: act.ts)
        partition = Partition(self._partition, Tables.over(), self.catalog)
        partition.apply([Arrived(n, 0, act.ts, act, str(n)) for n, act in enumerate(acts)])
        return partition.user(keys.key("user", GUEST)) or NEVER

    def _blocked(self, request: Request, state: UserState, ts: int) -> set[int]:
        """Items that must not be shown to this user now."""
        since = ts - self.settings.no_repeat_window_ms
        out = {keys.key("item", item_id) for item_id in request.exclude}
        past = [np.frombuffer(state.shown, _SHOWN)]
        past += [np.frombuffer(history, BEHAVIOUR) for pair in state.histories.values() for history in pair]
        for rows in past:
            out.update(rows["item"][rows["ts"] > since].tolist())
        return out

    def _popular(self, candidates: list[int], item_counts: ItemCounts, ts: int) -> _Scored:
        """By popularity, then the newest."""
        score = {key: item_counts(key, ts)[_POPULAR_COLUMN] for key in candidates}
        return _Scored(sorted(candidates, key=lambda key: (-score[key], -self.shelves.published_ms(key), key)), score, {}, None)

    def _ranked(
        self, candidates: list[int], request: Request, state: UserState, item_counts: ItemCounts, predict: Predict, fusion: Fusion, ts: int
    ) -> _Scored:
        """By the model; candidates come in one order, so that they are the same batch. In its eyes each stands in the
        first place, since its own is not known yet.
        """
        if not candidates:
            return _Scored([], {}, {}, None)
        user = keys.key("user", request.user_id) if request.user_id is not None else 0
        domain = keys.key("domain", request.domain) if request.domain is not None else None
        part, moment = self._view.user(user, state, request.context, ts), Moment(self._view, user, state, ts)
        slots = []
        for key in candidates:
            known = self.catalog.get(key)
            of = domain if domain is not None else known.domain if known else 0
            slots.append(moment.slot(key, known, of, request.module, 0, item_counts))
        prediction = predict(of_candidates([features(part, slot) for slot in slots]), fusion.gamma_user, fusion.gamma_item)
        judged = _Judged(prediction, values(prediction, fusion.rank_scale), part, slots)
        fused = fuse(judged.values, fusion.weights)
        return _Scored(
            order=[candidates[n] for n in np.argsort(-fused, kind="stable").tolist()],
            score=dict(zip(candidates, fused.tolist(), strict=True)),
            place={key: n for n, key in enumerate(candidates)},
            judged=judged,
        )

    def _trace(self, request: Request, answer: Answer, listed: list[int], scored: _Scored, fusion: Fusion, ts: int) -> Trace:
        items, judged, told = answer.items, scored.judged, None
        if judged is not None:
            at, guest = [scored.place[key] for key in listed], request.user_id is None
            p = judged.prediction
            told = numbers(
                judged.values[at], p.user[at], p.popularity[at], p.rank[at], fusion,
                None if guest else judged.part, [] if guest else [judged.slots[n] for n in at],
            )  # fmt: skip
        return Trace(
            ts=ts, user_id=request.user_id, strategy=answer.strategy, flags=answer.flags, model_version=answer.model_version,
            items=[i.item_id for i in items], sources=[i.source for i in items], propensities=[i.propensity for i in items],
            scores=[i.score for i in items], numbers=told,
        )  # fmt: skip

    def name(self, key: int) -> str | None:
        """The id of an item that is known."""
        known = self.catalog.get(key)
        return known.item.item_id if known else self.shelves.name(key)

    def _name(self, key: int) -> str:
        name = self.name(key)
        if name is None:
            raise ValueError(f"item {key:016x} stands on a shelf, but is not in the catalog: both must be told of every change")
        return name

    def _exposure(self, request: Request, answer: Answer, chosen: list[int], item_counts: ItemCounts, ts: int) -> Exposure | None:
        if request.user_id is None or not answer.items:
            return None
        slots = [
            Slot(
                item_id=item.item_id, position=item.position, propensity=item.propensity, score=item.score,
                popularity=item_counts(key, ts)[: len(POPULARITY_HALF_LIVES_H)], source=item.source, module=request.module,
            )
            for key, item in zip(chosen, answer.items, strict=True)
        ]  # fmt: skip
        return Exposure(
            ts=ts, user_id=request.user_id, request_id=answer.request_id, slots=tuple(slots), domain=request.domain,
            strategy=answer.strategy, context=request.context,
            model_version=answer.model_version or 0, model_age_ms=answer.model_age_ms,
        )  # fmt: skip
