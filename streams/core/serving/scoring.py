"""What a list and a page have in common: who asks, what must not be shown to them, and what is made of candidates.

Pure, as all here: given the same state, candidates in any order are the same batch and get the same scores.
Shapes: B candidates, T tasks.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from online_model.batch import Batch, of_candidates
from online_model.features import POPULARITY_HALF_LIVES_H, TASKS
from online_model.history import BEHAVIOUR
from streams.core.join import co_listening, keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, Context, Event, EventTime, ExposedItem, Id, ShortId
from streams.core.join.features_view import NEVER, FeatureView, ItemCounts, UserMoment
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.serving.candidates import POPULAR_HALF_LIFE_H, CatalogIndex
from streams.core.serving.explain import Numbers, numbers
from streams.core.serving.fusion import GAMMA, SCALE, Fusion, RequestError, chosen, fuse, values, within
from streams.core.state.rows import PendingExposure as Half
from streams.core.state.rows import UserPart, UserState
from streams.core.state.tables import Tables

if TYPE_CHECKING:  # the core starts without torch; settings stand beside what lists are made by
    from online_model.trainer import Prediction
    from streams.core.serving.recommend import Preset, RecommendSettings

MAX_IDS = 1_000  # given candidates or excluded items of a request, whatever the settings say
MAX_PLAYS = 50  # acts of a guest: as many as a history holds
_GUEST = "guest"
_SHOWN = np.dtype([("item", "<u8"), ("ts", "<i8")])  # rows of UserState.exposed
_POPULAR_COLUMN = POPULARITY_HALF_LIVES_H.index(POPULAR_HALF_LIFE_H)

Array = np.ndarray
Predict = Callable[[Batch, float, float], "Prediction"]  # a batch, gamma_user, gamma_item
Look = Callable[[Batch], Array]  # a batch -> what the ranker knows of its users


class GuestAct(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest did lately, as the request tells it; stored nowhere."""

    item_id: Id
    action: Action = Action.PLAY
    ts: EventTime | None = None  # None = just now
    full: bool | None = None


class ServingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a request for a list and one for a page have in common."""

    user_id: Id | None = None  # None = a guest
    plays: Annotated[tuple[GuestAct, ...], Meta(max_length=MAX_PLAYS)] = ()  # a guest's, in time order
    domain: ShortId | None = None  # of what is asked for; given candidates are taken as they are
    context: Context = {}
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS)] = ()
    weights: dict[str, float] | None = None  # task, or rank -> weight, in place of the settings'
    rank_scale: float | None = None  # in place of the settings', as the next two
    gamma_user: float | None = None  # share of the user's part that is taken away
    gamma_item: float | None = None  # share of momentary popularity's part that is taken away; the strategy's own otherwise
    request_id: ShortId | None = None


class SlateItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item of an answer."""

    item_id: str
    position: int
    score: float  # sum of weight x probability, and of the rank head's part; where popularity orders, the decayed count of a day
    source: str  # given | co-listened | popular | fresh | explore (drawn at random, into the ranking or into its slot)
    propensity: float  # probability of this item in this slot, given the candidates
    probabilities: dict[str, float] | None  # by task, after what gamma took away; None where popularity orders


@dataclass(slots=True)
class Judged:
    """What the model said of all candidates, and what it saw."""

    prediction: Prediction
    values: Array  # float64 [B, T + 1]
    part: UserPart
    slots: list[Half]


@dataclass(slots=True)
class Scored:
    """Candidates in order."""

    order: list[int]  # best first
    score: dict[int, float]
    place: dict[int, int]  # of a candidate in what follows
    judged: Judged | None  # None where popularity orders


class Scorer:
    """Judges candidates by explicit state; changes nothing."""

    def __init__(self, settings: RecommendSettings, partition: PartitionSettings, catalog: Catalog, catalog_index: CatalogIndex) -> None:
        self.settings, self.catalog, self.catalog_index = settings, catalog, catalog_index
        self.view = FeatureView(partition)
        self._partition = partition

    def check(self, asked: ServingRequest) -> None:
        if asked.user_id is not None and asked.plays:
            raise RequestError("plays", "only of a guest; what a user did comes as events")

    def fusion(self, asked: ServingRequest, way: Preset) -> Fusion:
        """What the request asks for, else what the strategy does, which is what the settings say. Raises RequestError."""
        s = self.settings
        gamma_user, gamma_item = (
            own if own is not None else usual for own, usual in ((way.gamma_user, s.gamma_user), (way.gamma_item, s.gamma_item))
        )
        wanted = {
            "rank_scale": (asked.rank_scale, s.rank_scale, SCALE),
            "gamma_user": (asked.gamma_user, gamma_user, GAMMA),
            "gamma_item": (asked.gamma_item, gamma_item, GAMMA),
        }
        more = {name: within(name, own, bounds) if own is not None else usual for name, (own, usual, bounds) in wanted.items()}
        return Fusion(chosen(s.weights, {**way.weights, **(asked.weights or {})}), **more)

    def state(self, asked: ServingRequest, user: UserState | None, ts: int) -> UserState:
        """A guest's acts go through a partition of their own, which is forgotten: seen by the very code that sees users."""
        if asked.user_id is not None:
            return user or NEVER
        acts = [
            Event(ts=min(ts, a.ts if a.ts is not None else ts), user_id=_GUEST, item_id=a.item_id, action=a.action, full=a.full)
            for a in asked.plays
        ]
        if not acts:
            return NEVER
        acts.sort(key=lambda act: act.ts)
        partition = Partition(self._partition, Tables.over(), self.catalog)
        partition.apply([Arrived(n, 0, act.ts, act, str(n)) for n, act in enumerate(acts)])
        return partition.user(keys.key("user", _GUEST)) or NEVER

    def blocked(self, asked: ServingRequest, state: UserState, ts: int) -> set[int]:
        """Items that must not be shown to this user now."""
        since = ts - self.settings.no_repeat_window_ms
        out = {keys.key("item", item_id) for item_id in asked.exclude}
        past = [np.frombuffer(state.exposed, _SHOWN)]
        past += [np.frombuffer(history, BEHAVIOUR) for pair in state.histories.values() for history in pair]
        for rows in past:
            out.update(rows["item"][rows["ts"] > since].tolist())
        return out

    def vector(self, asked: ServingRequest, state: UserState, item_counts: ItemCounts, look: Look | None, ts: int) -> tuple[float, ...]:
        """What the ranker knows of who asks, before any item, in as many digits as are written down; empty where nobody looks."""
        if look is None:
            return ()
        user = keys.key("user", asked.user_id) if asked.user_id is not None else 0
        domain = keys.key("domain", asked.domain) if asked.domain is not None else 0
        part = self.view.user_part(user, state, asked.context, ts)
        nothing = UserMoment(self.view, user, state, ts).exposure(0, None, domain, 0, None, item_counts)
        return tuple(np.round(look(of_candidates([nothing.features(part)]))[0], 4).tolist())

    def popular(self, candidates: Iterable[int], item_counts: ItemCounts, ts: int) -> Scored:
        """By popularity, then the newest."""
        score = popularity(candidates, item_counts, ts)
        return Scored(sorted(score, key=lambda key: (-score[key], -self.catalog_index.published_ms(key), key)), score, {}, None)

    def ranked(
        self, candidates: Iterable[int], asked: ServingRequest, state: UserState, item_counts: ItemCounts, predict: Predict, fusion: Fusion,
        ts: int, module: Callable[[int], str | None],
    ) -> Scored:  # fmt: skip
        """By the model; candidates come in one order, so that they are the same batch. In its eyes each stands in the
        first place of its module, since its own is not known yet.
        """
        ordered = sorted(candidates)
        if not ordered:
            return Scored([], {}, {}, None)
        user = keys.key("user", asked.user_id) if asked.user_id is not None else 0
        domain = keys.key("domain", asked.domain) if asked.domain is not None else None
        following = self.catalog_index.followers.row(co_listening.last(state.liked, 0, ts))
        part, moment = self.view.user_part(user, state, asked.context, ts), UserMoment(self.view, user, state, ts, following)
        slots = []
        for key in ordered:
            known = self.catalog.get(key)
            of = domain if domain is not None else known.domain if known else 0
            slots.append(moment.exposure(key, known, of, keys.optional("module", module(key)), 0, item_counts))
        prediction = predict(of_candidates([slot.features(part) for slot in slots]), fusion.gamma_user, fusion.gamma_item)
        judged = Judged(prediction, values(prediction, fusion.rank_scale), part, slots)
        fused = fuse(judged.values, fusion.weights)
        return Scored(
            order=[ordered[n] for n in np.argsort(-fused, kind="stable").tolist()],
            score=dict(zip(ordered, fused.tolist(), strict=True)),
            place={key: n for n, key in enumerate(ordered)},
            judged=judged,
        )

    def items(
        self, listed: Sequence[int], sources: Sequence[str], chances: Sequence[float], scored: Scored, names: Mapping[int, str]
    ) -> list[SlateItem]:
        """Items as they are answered, from the first place on. `names`: ids that the request gave."""
        by_task = scored.judged.prediction.probabilities if scored.judged else None
        return [
            SlateItem(
                item_id=names.get(key) or self._name(key),
                position=n,
                score=scored.score[key],
                source=sources[n],
                propensity=chances[n],
                probabilities=dict(zip(TASKS, by_task[scored.place[key]].tolist(), strict=True)) if by_task is not None else None,
            )
            for n, key in enumerate(listed)
        ]

    def slots(
        self, listed: Sequence[int], items: Sequence[SlateItem], given: Sequence[float], item_counts: ItemCounts, ts: int,
        module: str | None, module_propensity: float | None = None,
    ) -> list[ExposedItem]:  # fmt: skip
        """The same as they are written down. `given`: chances given the slots above."""
        out = []
        for key, item, chance in zip(listed, items, given, strict=True):
            known = self.catalog.get(key)
            out.append(
                ExposedItem(
                    item_id=item.item_id, position=item.position, propensity=item.propensity, conditional_propensity=chance,
                    score=item.score, popularity=item_counts(key, ts)[: len(POPULARITY_HALF_LIVES_H)], source=item.source, module=module,
                    monetization=known.item.monetization if known else None, module_propensity=module_propensity,
                )
            )  # fmt: skip
        return out

    def name(self, key: int) -> str | None:
        """The id of an item that is known."""
        known = self.catalog.get(key)
        return known.item.item_id if known else self.catalog_index.name(key)

    def _name(self, key: int) -> str:
        name = self.name(key)
        if name is None:
            raise ValueError(f"item {key:016x} stands on a shelf, but is not in the catalog: both must be told of every change")
        return name


def popularity(candidates: Iterable[int], item_counts: ItemCounts, ts: int) -> dict[int, float]:
    """Decayed counts of a day."""
    return {key: item_counts(key, ts)[_POPULAR_COLUMN] for key in candidates}


def told(scored: Scored, listed: Sequence[int], fusion: Fusion, guest: bool) -> Numbers | None:
    """What a trace keeps of the items that are shown: nothing of a guest's behaviours."""
    judged = scored.judged
    if judged is None:
        return None
    at, p = [scored.place[key] for key in listed], judged.prediction
    return numbers(
        judged.values[at], p.user[at], p.popularity[at], p.rank[at], fusion,
        None if guest else judged.part, [] if guest else [judged.slots[n] for n in at],
    )  # fmt: skip
