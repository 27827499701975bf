"""Why a slate is as it is: the parts of its items' scores, kept for the last slates and pages.

A trace holds what was computed for serving, packed at once: so it is bounded in bytes, and what the user does next doesn't change it.
The attention over behaviours is computed on demand by the current model, whose version is part of the explanation.
A guest's behaviours are not kept, so their attention is not explained.
Shapes: K items of the slate, T tasks, L behaviours of a family, R related ones.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import msgspec
import numpy as np

from online_model.batch import Batch, of_candidates
from online_model.features import TASKS
from online_model.history import COLLECT, DISLIKE, FULL_PLAY, PARTIAL_PLAY, SHARE, SKIP
from streams.core.join.events import ArmDraw
from streams.core.json_fields import about
from streams.core.serving.fusion import PARTS, terms
from streams.core.serving.requests import Flag
from streams.core.serving.retrieval import SOURCES
from streams.core.state.rows import PendingExposure, UserPart

if TYPE_CHECKING:  # the core starts without torch
    from online_model.attended import Attended

TOP_BEHAVIOURS = 5  # of each attention, those with the largest weights
POPULARITY, BOOST = "popularity", "boost"
FAMILIES = ("positive", "negative")  # rows of a batch's histories
RELATED = "same artist or category"
ACTIONS = {
    PARTIAL_PLAY: "partial_play", FULL_PLAY: "full_play", COLLECT: "collect", SHARE: "share", SKIP: "skip", DISLIKE: "dislike",
}  # fmt: skip
_ENTRY_BYTES = 300  # of one trace beside its packed bytes: its key, its place in the table

Array = np.ndarray
K = TypeVar("K")
Attend = Callable[[Batch], "Attended"]
Name = Callable[[int], str | None]  # of an item's key


class ModelTrace(msgspec.Struct, frozen=True, array_like=True):
    """The model's output for the items of a slate, and its input."""

    values: bytes  # float64 [K, T + 1], what the weights multiply
    user: bytes  # float32 [K, T]
    popularity: bytes  # float32 [K, T]
    rank: bytes  # float32 [K]
    weights: tuple[float, ...]  # in the order of PARTS
    rank_scale: float
    gamma_user: float
    gamma_item: float
    part: UserPart | None  # None of a guest
    exposures: list[PendingExposure]  # none of a guest


class Trace(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a slate, its items in their order."""

    ts: int
    user_id: str | None
    strategy: str
    flags: list[Flag]
    model_version: int | None
    items: list[str]
    sources: list[str]
    propensities: list[float | None]
    scores: list[float]
    model: ModelTrace | None  # None where popularity ordered
    modules: list[str | None] = []  # of the items of a page; a slate's are all of one, or of none
    choice: ArmDraw | None = None  # how the strategy was drawn; None where the request named it
    boosts: list[float] = []  # what of the scores the request has added; empty: nothing


class ScoreTerm(msgspec.Struct, frozen=True, kw_only=True):
    """One summand of a score."""

    part: Annotated[str, about("a task, rank or boost; where popularity orders, popularity", (*PARTS, POPULARITY, BOOST))]
    weight: Annotated[float, about("of it")]
    value: Annotated[float, about("of a task its probability, of rank tanh(rank head / rank_scale), of boost what the request adds")]
    adds: Annotated[float, about("weight x value; an item's sum up to its score")]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """One behaviour of the user and its attention weight."""

    item_id: Annotated[str | None, about("null: not in the catalog any more")]
    action: Annotated[str, about("what the user did with it", ACTIONS.values())]
    age_s: Annotated[float, about("when the list was made")]
    weight: Annotated[float, about("of the attention")]


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """One attention's weights over the user's behaviours for an item; with `abstained` they sum up to 1 over all behaviours."""

    over: Annotated[str, about("which behaviours", (*FAMILIES, RELATED))]
    abstained: Annotated[float, about("weight that went to none of them")]
    behaviours: Annotated[list[Behaviour], about("those with the largest weights")]


class ExplainedItem(msgspec.Struct, frozen=True, kw_only=True):
    """Why one item is in its position."""

    item_id: Annotated[str, about("the item")]
    module: Annotated[str | None, about("of a page, or as the request named it")]
    position: Annotated[int, about("within its module")]
    score: Annotated[float, about("by which it was ordered")]
    source: Annotated[str, about("of the candidate, as in the list", SOURCES)]
    propensity: Annotated[float | None, about("of the item in its position; null: not known")]
    terms: Annotated[list[ScoreTerm], about("what the score is the sum of")]
    probabilities: Annotated[dict[str, float] | None, about("by task, after what gamma took away")]
    user: Annotated[
        dict[str, float] | None,
        about("by task: what the user adds to the logit, whatever is shown; gamma_user x it was taken away"),
    ]
    popularity: Annotated[
        dict[str, float] | None, about("by task: what momentary popularity adds to the logit; gamma_item x it was taken away")
    ]
    rank: Annotated[float | None, about("the rank head; only its differences within a list mean something")]
    attention: Annotated[list[Attention], about("empty where popularity orders, of guests, and where no model is there")]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a slate or page is as it is. All of a model is null where popularity ordered."""

    request_id: Annotated[str, about("of the list or page")]
    ts: Annotated[int, about("when it was made, ms UTC")]
    user_id: Annotated[str | None, about("for whom; null: a guest")]
    strategy: Annotated[str, about("that made it")]
    choice: Annotated[ArmDraw | None, about("how the strategy was drawn; null: the request named it")]
    flags: Annotated[list[Flag], about("as the list was made")]
    model_version: Annotated[int | None, about("that scored it")]
    attention_version: Annotated[int | None, about("of the model that weighed the behaviours: the current one")] = msgspec.field(
        name="weighed_by"
    )
    model_changed: Annotated[bool, about("these two differ: attention may have been another then")] = msgspec.field(name="moved_on")
    weights: Annotated[dict[str, float] | None, about("by task, and of rank")]
    rank_scale: Annotated[float | None, about("divisor of the rank head")]
    gamma_user: Annotated[float | None, about("share taken away of the user's level")]
    gamma_item: Annotated[float | None, about("share taken away of momentary popularity")]
    items: Annotated[list[ExplainedItem], about("in order")]


class RecentRequests(Generic[K]):
    """What is kept, packed, of the last requests. The oldest go where they are too many, or too many bytes."""

    def __init__(self, requests: int, max_bytes: int) -> None:
        self._requests, self._max_bytes = requests, max_bytes
        self._packed: OrderedDict[K, bytes] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._packed)

    def put(self, request: K, packed: bytes) -> None:
        """What comes later of the same request replaces what came earlier."""
        self._drop(request)
        size = len(packed) + _ENTRY_BYTES
        if not self._requests or size > self._max_bytes:
            return
        while len(self._packed) >= self._requests or self.bytes + size > self._max_bytes:
            self._drop(next(iter(self._packed)))
        self._packed[request] = packed
        self.bytes += size

    def get(self, request: K) -> bytes | None:
        """None of a request that is not among the last ones."""
        return self._packed.get(request)

    def _drop(self, request: K) -> None:
        packed = self._packed.pop(request, None)
        if packed is not None:
            self.bytes -= len(packed) + _ENTRY_BYTES


class RecentTraces:
    """Traces of the last slates and pages by request id."""

    def __init__(self, requests: int, max_bytes: int) -> None:
        self._recent = RecentRequests[str](requests, max_bytes)

    def __len__(self) -> int:
        return len(self._recent)

    @property
    def bytes(self) -> int:
        """That the traces take."""
        return self._recent.bytes

    def put(self, request_id: str, trace: Trace) -> None:
        """A later trace of the same request id replaces the earlier one."""
        self._recent.put(request_id, _packed(trace))

    def get(self, request_id: str) -> Trace | None:
        """None of a request that is not among the last ones."""
        packed = self._recent.get(request_id)
        return _TRACE.decode(packed) if packed is not None else None


def explained(request_id: str, trace: Trace, name: Name, attend: Attend | None = None, version: int | None = None) -> Explanation:
    """The explanation of a trace. `attend`, `version`: of the current model; None where there is none."""
    m = trace.model
    attention = _attention(m, name, attend) if m else []
    return Explanation(
        request_id=request_id,
        ts=trace.ts,
        user_id=trace.user_id,
        strategy=trace.strategy,
        choice=trace.choice,
        flags=trace.flags,
        model_version=trace.model_version,
        attention_version=version if attention else None,
        model_changed=bool(attention) and version != trace.model_version,
        weights=dict(zip(PARTS, m.weights, strict=True)) if m else None,
        rank_scale=m.rank_scale if m else None,
        gamma_user=m.gamma_user if m else None,
        gamma_item=m.gamma_item if m else None,
        items=_by_model(trace, m, attention)
        if m
        else [_item(trace, k, [_term(POPULARITY, v - (trace.boosts[k] if trace.boosts else 0.0))]) for k, v in enumerate(trace.scores)],
    )


def _by_model(trace: Trace, m: ModelTrace, attention: list[list[Attention]]) -> list[ExplainedItem]:
    values = np.frombuffer(m.values, np.float64).reshape(-1, len(PARTS))
    user, popularity = (np.frombuffer(part, np.float32).reshape(-1, len(TASKS)) for part in (m.user, m.popularity))
    return [
        msgspec.structs.replace(
            _item(trace, k, [ScoreTerm(part=p, weight=w, value=v, adds=adds) for p, w, v, adds in terms(values[k], m.weights)]),
            probabilities=_by_task(values[k, : len(TASKS)]),
            user=_by_task(user[k]),
            popularity=_by_task(popularity[k]),
            rank=float(np.frombuffer(m.rank, np.float32)[k]),
            attention=attention[k] if attention else [],
        )
        for k in range(len(values))
    ]


def _item(trace: Trace, k: int, terms_: list[ScoreTerm]) -> ExplainedItem:
    module = trace.modules[k] if trace.modules else None
    position = k - trace.modules.index(module) if trace.modules else k  # items of a module are neighbours
    if trace.boosts and trace.boosts[k]:
        terms_ = [*terms_, _term(BOOST, trace.boosts[k])]
    return ExplainedItem(
        item_id=trace.items[k], module=module, position=position, score=trace.scores[k], source=trace.sources[k],
        propensity=trace.propensities[k], terms=terms_, probabilities=None, user=None, popularity=None, rank=None, attention=[],
    )  # fmt: skip


def _term(part: str, adds: float) -> ScoreTerm:
    return ScoreTerm(part=part, weight=1.0, value=adds, adds=adds)


def _by_task(row: Array) -> dict[str, float]:
    return dict(zip(TASKS, row.tolist(), strict=True))


def _attention(m: ModelTrace, name: Name, attend: Attend | None) -> list[list[Attention]]:
    """By item; empty where no behaviours are known."""
    if attend is None or m.part is None or not m.exposures:
        return []
    batch = of_candidates([exposure.features(m.part) for exposure in m.exposures])
    weights = attend(batch)
    out = []
    for k in range(len(batch)):
        item = []
        if weights.history is not None:
            for f, over in enumerate(FAMILIES):
                item.append(_weighed(over, weights.history[k, f], batch.history[0, f], batch.action[0, f], batch.age_s[0, f], name))
        if weights.related is not None:
            item.append(_weighed(RELATED, weights.related[k], batch.related[k], batch.related_action[k], batch.related_age_s[k], name))
        out.append(item)
    return out


def _weighed(over: str, weights: Array, items: Array, actions: Array, ages_s: Array, name: Name) -> Attention:
    """Weights [1 + L], the first of abstaining; items, codes and ages [L]. Equal weights: the newest first."""
    present = np.flatnonzero(items)
    top = present[np.argsort(-weights[1:][present], kind="stable")[:TOP_BEHAVIOURS]].tolist()
    return Attention(
        over=over,
        abstained=float(weights[0]),
        behaviours=[
            Behaviour(
                item_id=name(int(items[at])), action=ACTIONS[int(actions[at])], age_s=float(ages_s[at]), weight=float(weights[1 + at])
            )
            for at in top
        ],
    )  # fmt: skip


_packed = msgspec.msgpack.Encoder().encode
_TRACE = msgspec.msgpack.Decoder(Trace)
