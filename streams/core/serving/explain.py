"""Why a list is as it is: what the scores of its items were made of, kept for the last lists and told to whoever asks.

A trace is what was computed anyway, packed at once: so what is kept is bounded in bytes, and is what was served, whatever the user
does next. Which behaviours the attention weighed is computed when somebody asks, by the model as it is then, and told with its version.
A guest's behaviours are kept nowhere, so nothing is told of those.
Shapes: K shown items, T tasks, L behaviours of a family, R related ones.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from online_model.batch import Batch, of_candidates
from online_model.features import TASKS
from online_model.history import COLLECT, DISLIKE, FULL_PLAY, PARTIAL_PLAY, SHARE, SKIP
from streams.core.join.events import ArmDraw
from streams.core.serving.fusion import PARTS, Fusion, terms
from streams.core.state.rows import PendingExposure, UserPart

if TYPE_CHECKING:  # the core starts without torch
    from online_model.attended import Attended

TOLD = 5  # behaviours of each attention, those that weighed most
POPULARITY = "popularity"
FAMILIES = ("positive", "negative")  # rows of a batch's histories
RELATED = "same artist or category"
ACTIONS = {
    PARTIAL_PLAY: "partial_play", FULL_PLAY: "full_play", COLLECT: "collect", SHARE: "share", SKIP: "skip", DISLIKE: "dislike",
}  # fmt: skip
_ENTRY_BYTES = 300  # of one trace beside its packed bytes: its key, its place in the table

Array = np.ndarray
Attend = Callable[[Batch], "Attended"]
Name = Callable[[int], str | None]  # of an item's key


class Numbers(msgspec.Struct, frozen=True, array_like=True):
    """What the model said of the shown items, and what it saw of them."""

    values: bytes  # float64 [K, T + 1], what the weights multiply
    user: bytes  # float32 [K, T]
    popularity: bytes  # float32 [K, T]
    rank: bytes  # float32 [K]
    weights: tuple[float, ...]  # in the order of PARTS
    rank_scale: float
    gamma_user: float
    gamma_item: float
    part: UserPart | None  # None of a guest
    slots: list[PendingExposure]


class Trace(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a list, its items in their order."""

    ts: int
    user_id: str | None
    strategy: str
    flags: list[str]
    model_version: int | None
    items: list[str]
    sources: list[str]
    propensities: list[float]
    scores: list[float]
    numbers: Numbers | None  # None where popularity ordered
    modules: list[str | None] = []  # of the items of a page; a list's are all of one, or of none
    choice: ArmDraw | None = None  # how the strategy came to be; None where the request named it


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One summand of a score."""

    part: str  # a task, or rank; where popularity orders, popularity
    weight: float
    value: float  # of a task its probability, of rank tanh(rank head / rank_scale)
    adds: float  # weight x value; an item's sum up to its score


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the user did, and how much the attention made of it."""

    item_id: str | None  # None of an item that is not in the catalog any more
    action: str  # partial_play, full_play, collect, share, skip, dislike
    age_s: float  # when the list was made
    weight: float


class Attention(msgspec.Struct, frozen=True, kw_only=True):
    """How one attention saw the user from an item; its weights, with what it abstained by, sum up to 1 over all behaviours."""

    over: str  # positive | negative | same artist or category
    abstained: float  # weight that went to none of the behaviours
    behaviours: list[Behaviour]  # those that weighed most


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """Why one item stands where it stands."""

    item_id: str
    module: str | None
    position: int  # within its module
    score: float
    source: str  # of the candidate, as in the answer
    propensity: float
    terms: list[Term]
    probabilities: dict[str, float] | None  # by task, as in the answer: after what gamma took away
    user: dict[str, float] | None  # by task: what the user adds to the logit, whatever is shown; gamma_user x it was taken away
    popularity: dict[str, float] | None  # by task: what momentary popularity adds to the logit; gamma_item x it was taken away
    rank: float | None  # the rank head; only its differences within a list mean something
    attention: list[Attention]  # empty where popularity orders, of guests, and where no model is there


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a list is as it is. All of a model is null where popularity ordered."""

    request_id: str
    ts: int  # when it was made
    user_id: str | None
    strategy: str
    choice: ArmDraw | None  # how the strategy came to be, with every one's chance; None where the request named it
    flags: list[str]
    model_version: int | None  # that scored it
    weighed_by: int | None  # version of the model that weighed the behaviours, which is the one of now
    moved_on: bool  # these two differ: attention may have been another when the list was made
    weights: dict[str, float] | None
    rank_scale: float | None
    gamma_user: float | None
    gamma_item: float | None
    items: list[Explained]


class Recent:
    """Traces of the last lists by request id. The oldest go where they are too many, or too many bytes."""

    def __init__(self, requests: int, most_bytes: int) -> None:
        self._requests, self._most_bytes = requests, most_bytes
        self._packed: OrderedDict[str, bytes] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._packed)

    def put(self, request_id: str, trace: Trace) -> None:
        """A later list of the same request id takes the place of the earlier one."""
        self._drop(request_id)
        packed = _packed(trace) if self._requests else b""
        size = len(packed) + _ENTRY_BYTES
        if not packed or size > self._most_bytes:
            return
        while len(self._packed) >= self._requests or self.bytes + size > self._most_bytes:
            self._drop(next(iter(self._packed)))
        self._packed[request_id] = packed
        self.bytes += size

    def get(self, request_id: str) -> Trace | None:
        packed = self._packed.get(request_id)
        return _TRACE.decode(packed) if packed is not None else None

    def _drop(self, request_id: str) -> None:
        packed = self._packed.pop(request_id, None)
        if packed is not None:
            self.bytes -= len(packed) + _ENTRY_BYTES


def numbers(
    values: Array, user: Array, popularity: Array, rank: Array, fusion: Fusion, part: UserPart | None, slots: list[PendingExposure]
) -> Numbers:
    """Of the shown items: values [K, T + 1], parts [K, T], rank head [K]."""
    return Numbers(
        values.tobytes(), user.tobytes(), popularity.tobytes(), rank.tobytes(),
        fusion.weights, fusion.rank_scale, fusion.gamma_user, fusion.gamma_item, part, slots,
    )  # fmt: skip


def explained(request_id: str, trace: Trace, name: Name, attend: Attend | None = None, version: int | None = None) -> Explanation:
    """A trace in words that carry numbers. `attend`, `version`: of the model of now; None where there is none."""
    n = trace.numbers
    seen = attend is not None and n is not None and n.part is not None and bool(n.slots)
    return Explanation(
        request_id=request_id,
        ts=trace.ts,
        user_id=trace.user_id,
        strategy=trace.strategy,
        choice=trace.choice,
        flags=trace.flags,
        model_version=trace.model_version,
        weighed_by=version if seen else None,
        moved_on=seen and version != trace.model_version,
        weights=dict(zip(PARTS, n.weights, strict=True)) if n else None,
        rank_scale=n.rank_scale if n else None,
        gamma_user=n.gamma_user if n else None,
        gamma_item=n.gamma_item if n else None,
        items=_by_model(trace, n, _attention(n, name, attend)) if n else list(_by_popularity(trace)),
    )


def _by_popularity(trace: Trace) -> Iterator[Explained]:
    for place, score in enumerate(trace.scores):
        yield _item(trace, place, [Term(part=POPULARITY, weight=1.0, value=score, adds=score)])


def _by_model(trace: Trace, n: Numbers, attention: list[list[Attention]]) -> list[Explained]:
    values = np.frombuffer(n.values, np.float64).reshape(-1, len(PARTS))
    user, popularity = (np.frombuffer(part, np.float32).reshape(-1, len(TASKS)) for part in (n.user, n.popularity))
    return [
        msgspec.structs.replace(
            _item(trace, k, [Term(part=p, weight=w, value=v, adds=adds) for p, w, v, adds in terms(values[k], n.weights)]),
            probabilities=_by_task(values[k, : len(TASKS)]),
            user=_by_task(user[k]),
            popularity=_by_task(popularity[k]),
            rank=float(np.frombuffer(n.rank, np.float32)[k]),
            attention=attention[k] if attention else [],
        )
        for k in range(len(values))
    ]


def _item(trace: Trace, k: int, terms_: list[Term]) -> Explained:
    module = trace.modules[k] if trace.modules else None
    position = k - trace.modules.index(module) if trace.modules else k  # items of a module stand together
    return Explained(
        item_id=trace.items[k], module=module, position=position, score=trace.scores[k], source=trace.sources[k],
        propensity=trace.propensities[k], terms=terms_, probabilities=None, user=None, popularity=None, rank=None, attention=[],
    )  # fmt: skip


def _by_task(row: Array) -> dict[str, float]:
    return dict(zip(TASKS, row.tolist(), strict=True))


def _attention(n: Numbers, name: Name, attend: Attend | None) -> list[list[Attention]]:
    """By item; of none where nobody's behaviours are known."""
    if attend is None or n.part is None or not n.slots:
        return []
    batch = of_candidates([slot.features(n.part) for slot in n.slots])
    weights = attend(batch)
    out = []
    for k in range(len(batch)):
        of = []
        if weights.history is not None:
            own = weights.history[k]
            of += [
                _weighed(over, own[f], batch.history[0, f], batch.action[0, f], batch.age_s[0, f], name) for f, over in enumerate(FAMILIES)
            ]
        if weights.related is not None:
            of.append(_weighed(RELATED, weights.related[k], batch.related[k], batch.related_action[k], batch.related_age_s[k], name))
        out.append(of)
    return out


def _weighed(over: str, weights: Array, items: Array, actions: Array, ages_s: Array, name: Name) -> Attention:
    """Weights [1 + L], the first of nothing; items, codes and ages [L]. Equal weights: the newest first."""
    there = np.flatnonzero(items)
    most = there[np.argsort(-weights[1:][there], kind="stable")[:TOLD]].tolist()
    return Attention(
        over=over,
        abstained=float(weights[0]),
        behaviours=[
            Behaviour(
                item_id=name(int(items[at])), action=ACTIONS[int(actions[at])], age_s=float(ages_s[at]), weight=float(weights[1 + at])
            )
            for at in most
        ],
    )  # fmt: skip


_packed = msgspec.msgpack.Encoder().encode
_TRACE = msgspec.msgpack.Decoder(Trace)
