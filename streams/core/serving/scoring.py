"""Candidates become scored items, exposures and what a trace keeps: common to slates and pages.

Pure, as all here: given the same state, candidates in any order are the same batch and get the same scores.
Serving scores every candidate at the first position of its module; examples are learned at the position where the item stood.
Shapes: B candidates, T tasks.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from online_model.batch import of_candidates
from online_model.features import POPULARITY_HALF_LIVES_H, TASKS
from online_model.order_watch import OrderWatch
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.co_listening import Nearness
from streams.core.join.events import ArmDraw, ExposedItem, Exposure
from streams.core.join.features_view import NEVER, FeatureView, ItemCounts, UserMoment, nearness
from streams.core.join.settings import PartitionSettings
from streams.core.json_fields import about
from streams.core.serving.catalog_index import POPULAR_HALF_LIFE_H, CatalogIndex
from streams.core.serving.eligibility import EligibilityFilter
from streams.core.serving.explain import ModelTrace, Trace
from streams.core.serving.fusion import GAMMA, SCALE, Fusion, RequestError, bounded, fuse, merged_weights, values
from streams.core.serving.model_view import ModelView
from streams.core.serving.requests import Flag, RequestState, ServingRequest, guest_state
from streams.core.serving.retrieval import SOURCES, Arrangement
from streams.core.shaping.placement import Placement
from streams.core.state.rows import PendingExposure, UserPart, UserState

if TYPE_CHECKING:  # the core starts without torch; settings stand beside the code that reads them
    from online_model.trainer import Prediction
    from streams.core.serving.recommend import Ranking, RecommendSettings

_POPULAR_COLUMN = POPULARITY_HALF_LIVES_H.index(POPULAR_HALF_LIFE_H)

# log-odds per variance of a logit that a belief is lowered by: what nothing is known of loses .5. Carousel world, seed 1,
# expected regret after 2,500 slates: 605, and 741 without
CAUTION = 0.5

Array = np.ndarray


class SlateItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of a slate or a module."""

    item_id: Annotated[str, about("the item")]
    position: Annotated[int, about("from 0 on; send it with acts")]
    score: Annotated[
        float,
        about("sum of weight x probability, and of the rank head's part; where popularity orders, the decayed count of a day"),
    ]
    source: Annotated[str, about("of the candidate; explore: drawn at random, into the ranking or into its position", SOURCES)]
    propensity: Annotated[
        float | None, about("probability of this item in this position, given the candidates; of a pinned item 1; null: not known")
    ]
    probabilities: Annotated[dict[str, float] | None, about("by task, after what gamma took away; null where popularity orders")]


@dataclass(slots=True)
class ModelScores:
    """The model's output for all candidates, and its input."""

    row: dict[int, int]  # of a candidate in what follows
    prediction: Prediction
    values: Array  # float64 [B, T + 1]
    part: UserPart
    exposures: list[PendingExposure]


@dataclass(slots=True)
class ScoredCandidates:
    """Candidates in order."""

    order: list[int]  # best first
    score: dict[int, float]
    model: ModelScores | None = None  # None where popularity orders
    boosts: dict[int, float] = field(default_factory=dict)  # what of a score the request has added

    def boosted(self, added: Mapping[int, float]) -> ScoredCandidates:
        """With this added to the scores; of equal ones the order stays."""
        score = {key: score + added.get(key, 0.0) for key, score in self.score.items()}
        return replace(self, order=sorted(self.order, key=lambda key: -score[key]), score=score, boosts={**self.boosts, **added})

    def beliefs(self, keys: Sequence[int], fusion: Fusion) -> tuple[Array, Array] | None:
        """Means and standard deviations [K] of the scores of candidates, boosts included; None where the model believes nothing.

        A score's standard deviation is how far it moves where one task's logit moves up by one of its own, tasks taken as independent:
        of a rate near 0 that is more than the slope says, as the chance of a hidden favourite is. What was shown was chosen, so the ranker
        thinks too well of what was not: CAUTION.
        """
        m = self.model
        if m is None or not m.prediction.belief.shape[1]:
            return None
        rows, weights = [m.row[key] for key in keys], np.array(fusion.weights[: len(TASKS)])
        mean, variance = m.prediction.belief[rows].astype(np.float64).transpose(1, 0, 2)
        p = np.clip(m.prediction.probabilities[rows].astype(np.float64), 1e-9, 1 - 1e-9)
        z = np.log(p / (1 - p)) + mean - CAUTION * variance
        p, higher = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z - np.sqrt(variance)))
        fused = fuse(np.column_stack([p, m.values[rows, len(TASKS) :]]), fusion.weights)
        fused += np.array([self.boosts.get(key, 0.0) for key in keys])
        return fused, np.sqrt((((higher - p) * weights) ** 2).sum(1))

    def also(self, other: ScoredCandidates) -> ScoredCandidates:
        """With other items, which were scored by themselves; the order stays that of these."""
        if self.model is None or other.model is None:
            return replace(self, score=self.score | other.score)
        m, n = self.model, other.model
        prediction = type(m.prediction)(*[
            np.concatenate([getattr(m.prediction, f.name), getattr(n.prediction, f.name)]) for f in fields(m.prediction)
        ])  # fmt: skip
        rows = m.row | {key: len(m.exposures) + row for key, row in n.row.items()}
        model = ModelScores(rows, prediction, np.concatenate([m.values, n.values]), m.part, m.exposures + n.exposures)
        return replace(self, score=self.score | other.score, model=model)

    def trace(self, items: Sequence[int], fusion: Fusion, guest: bool) -> ModelTrace | None:
        """What a trace keeps of the items that are shown: nothing of a guest's behaviours."""
        m = self.model
        if m is None:
            return None
        rows, p = [m.row[key] for key in items], m.prediction
        return ModelTrace(
            m.values[rows].tobytes(), p.user[rows].tobytes(), p.popularity[rows].tobytes(), p.rank[rows].tobytes(),
            fusion.weights, fusion.rank_scale, fusion.gamma_user, fusion.gamma_item,
            None if guest else m.part, [] if guest else [m.exposures[row] for row in rows],
        )  # fmt: skip


class Scorer:
    """Scores candidates by explicit state; changes nothing but the time of the catalog index, and what is watched of the orders."""

    def __init__(self, settings: RecommendSettings, partition: PartitionSettings, catalog: Catalog, catalog_index: CatalogIndex) -> None:
        self.settings, self.catalog, self.catalog_index = settings, catalog, catalog_index
        self.view = FeatureView(partition)
        self._partition = partition
        self.order_watch = OrderWatch()

    def state(
        self,
        request: ServingRequest,
        request_id: str,
        user: UserState | None,
        item_counts: ItemCounts,
        model: ModelView,
        ts: int,
        seed: int,
    ) -> RequestState:
        """All that a slate or page depends on; the catalog index moves on to its time. Raises RequestError."""
        if request.user_id is not None and request.plays:
            raise RequestError("plays", "only of a guest; what a user did comes as events")
        self.catalog_index.advance(ts)
        guest = request.user_id is None
        user = guest_state(request.plays, self._partition, self.catalog, ts) if guest else user or NEVER
        return RequestState(request, request_id, user, item_counts, model, ts, seed)

    def flags(self, state: RequestState) -> dict[Flag, bool]:
        """What holds of a slate and a page alike."""
        return {
            Flag.COLD: state.model.cold, Flag.GUEST: state.guest, Flag.STALE: state.model.stale,
            Flag.UNKNOWN_DOMAIN: state.domain is not None and not self.catalog_index.offers(state.domain),
            Flag.DRY_RUN: state.request.dry_run,
        }  # fmt: skip

    def nearness(self, state: RequestState) -> Nearness:
        """What others took close to the last items of the user."""
        return nearness(state.user, state.ts, self.catalog_index.co_listening.row)

    def by_vectors(self, state: RequestState, seeds: Collection[int] = ()) -> Iterator[int]:
        """Items by the product of their vectors with the user's, or by the direction of those of `seeds`; none while the model is cold."""
        index, vectors = self.catalog_index.vectors, state.model.vectors
        if vectors is None or state.model.cold:
            return iter(())
        index.follow(vectors)
        if seeds:
            return (item for item, _ in index.like(seeds))
        return index.best(vectors.query(state.moment(self.view))[0])

    def eligibility(self, state: RequestState, unknown: bool = False) -> EligibilityFilter:
        """What may be shown to the user of a request; `unknown`: also what the catalog does not hold."""
        artists = self.catalog_index.of_artists(state.request.exclude_artists)
        return EligibilityFilter(self.catalog_index, state.blocked(self.settings.no_repeat_window_ms), unknown, artists)

    def may_repeat(self, state: RequestState) -> bool:
        """Whether `eligibility` may let through what was shown or played within the no-repeat window: more than is remembered."""
        return state.may_repeat(self.settings.no_repeat_window_ms, self._partition)

    def fusion(self, request: ServingRequest, ranking: Ranking) -> Fusion:
        """What the request names, else what the strategy does. Raises RequestError."""
        defaults = {
            "rank_scale": (self.settings.rank_scale, SCALE),
            "gamma_user": (ranking.gamma_user, GAMMA),
            "gamma_item": (ranking.gamma_item, GAMMA),
        }
        parameters = {
            name: bounded(name, default if (requested := getattr(request, name)) is None else requested, bounds)
            for name, (default, bounds) in defaults.items()
        }
        return Fusion(merged_weights(self.settings.weights, {**ranking.weights, **(request.weights or {})}), **parameters)

    def by_popularity(self, candidates: Iterable[int], state: RequestState) -> ScoredCandidates:
        """By the decayed count of a day, then the newest; of equal ones the smallest key."""
        score = {key: state.item_counts(key, state.ts)[_POPULAR_COLUMN] for key in candidates}
        return ScoredCandidates(sorted(score, key=lambda key: (-score[key], -self.catalog_index.published_ms(key), key)), score)

    def score(
        self, candidates: Iterable[int], state: RequestState, fusion: Fusion, module: Callable[[int], str | None], watched: bool = True
    ) -> ScoredCandidates:
        """By the model, as one batch in the order of keys; while the model is cold, by popularity.

        Of equal scores the smallest key comes first. Keys are hashes of the ids, so that is an order like any, and everybody's.
        `watched`: the order counts among those of users that are compared.
        `module`: name of the module that a candidate would stand in. It is scored in the first position there: its own isn't known yet.
        """
        predict, ordered = state.model.predict, sorted(candidates)
        if predict is None or state.model.cold:
            return self.by_popularity(ordered, state)
        if not ordered:
            return ScoredCandidates([], {})
        user, domain, ts = state.user_key, state.domain, state.ts
        part = self.view.user_part(user, state.user, state.request.context, ts)
        moment, exposures = UserMoment(self.view, user, state.user, ts, self.nearness(state)), []
        for key in ordered:
            known = self.catalog.get(key)
            item_domain = domain if domain is not None else known.domain if known else 0
            exposures.append(moment.exposure(key, known, item_domain, keys.optional("module", module(key)), 0, state.item_counts))
        prediction = predict(of_candidates([exposure.features(part) for exposure in exposures]), fusion.gamma_user, fusion.gamma_item)
        multiplied = values(prediction, fusion.rank_scale)
        fused = fuse(multiplied, fusion.weights)
        order = [ordered[n] for n in np.argsort(-fused, kind="stable").tolist()]
        if watched and state.user.histories and not state.guest and not state.request.dry_run:
            self.order_watch.observe(user, order)
        return ScoredCandidates(
            order=order,
            score=dict(zip(ordered, fused.tolist(), strict=True)),
            model=ModelScores({key: n for n, key in enumerate(ordered)}, prediction, multiplied, part, exposures),
        )

    def slate_items(self, arrangement: Arrangement | Placement, scored: ScoredCandidates, names: Mapping[int, str]) -> list[SlateItem]:
        """Items as they are served, from the first position on. `names`: ids that the request gave."""
        m = scored.model
        rows = zip(arrangement.items, arrangement.sources, arrangement.propensities, strict=True)
        return [
            SlateItem(
                item_id=names.get(key) or self.named(key), position=n, score=scored.score[key], source=source, propensity=propensity,
                probabilities=dict(zip(TASKS, m.prediction.probabilities[m.row[key]].tolist(), strict=True)) if m else None,
            )
            for n, (key, source, propensity) in enumerate(rows)
        ]  # fmt: skip

    def exposed_items(
        self, arrangement: Arrangement | Placement, items: Sequence[SlateItem], state: RequestState, module: str | None,
        module_propensity: float | None = None,
    ) -> Iterator[ExposedItem]:  # fmt: skip
        """The same items as they are written down."""
        for key, item, conditional in zip(arrangement.items, items, arrangement.conditional_propensities(), strict=True):
            known = self.catalog.get(key)
            yield ExposedItem(
                item_id=item.item_id, position=item.position, propensity=item.propensity, conditional_propensity=conditional,
                score=item.score, popularity=state.item_counts(key, state.ts)[: len(POPULARITY_HALF_LIVES_H)], source=item.source,
                module=module, monetization=known.item.monetization if known else None, module_propensity=module_propensity,
            )  # fmt: skip

    def name(self, key: int) -> str | None:
        """The id of an item that is known."""
        known = self.catalog.get(key)
        return known.item.item_id if known else self.catalog_index.name(key)

    def named(self, key: int) -> str:
        """The id of an item that an index holds."""
        name = self.name(key)
        if name is None:
            raise ValueError(f"item {key:016x} is in the catalog index, but not in the catalog: each change goes to both")
        return name


def exposure(state: RequestState, strategy: str, choice: ArmDraw | None, items: Iterable[ExposedItem]) -> Exposure | None:
    """What is written down of a slate or page; None, and `items` unread, for guests and dry runs; None where nothing is shown."""
    request, model = state.request, state.model
    if request.user_id is None or request.dry_run or not (slots := tuple(items)):
        return None
    return Exposure(
        ts=state.ts, user_id=request.user_id, request_id=state.request_id, slots=slots, domain=request.domain, strategy=strategy,
        arm_draw=choice, context=request.context, seen=request.seen is not False,
        model_version=model.version or 0, model_age_ms=model.age_ms,
    )  # fmt: skip


def trace(
    state: RequestState, strategy: str, choice: ArmDraw | None, flags: list[Flag], items: Sequence[tuple[str | None, SlateItem]],
    model: ModelTrace | None, boosts: Sequence[float] = (),
) -> Trace:  # fmt: skip
    """What a slate or page is explained by. `items`: each with its module."""
    return Trace(
        ts=state.ts, user_id=state.request.user_id, strategy=strategy, flags=flags, model_version=state.model.version,
        items=[i.item_id for _, i in items], sources=[i.source for _, i in items], propensities=[i.propensity for _, i in items],
        scores=[i.score for _, i in items], model=model, modules=[module for module, _ in items], choice=choice, boosts=list(boosts),
    )  # fmt: skip
