"""Records of the `events` topic: their wire form, and why a record was not used."""
from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

MAX_SLOTS = 200  # items of one exposure
MAX_CONTEXT = 64  # keys of a context
MAX_ARMS = 12  # strategies to choose from: with more, each would learn too little
MAX_VECTOR = 64  # numbers of a choice that say who asked
WEEK_MS = 7 * 86_400_000
EARLIEST_TS, LATEST_TS = 631_152_000_000, 4_102_444_800_000  # the years 1990 and 2100 in ms UTC

Id = Annotated[str, Meta(min_length=1, max_length=256)]
ShortId = Annotated[str, Meta(min_length=1, max_length=64)]
EventTime = Annotated[int, Meta(ge=0, le=LATEST_TS)]  # ms UTC; `earliest_ts` bounds it from below
Length = Annotated[int, Meta(ge=0, le=WEEK_MS)]
ROUNDING = 1e-6  # a propensity above 1 by no more is 1: sums of float32, or seven digits
Probability = Annotated[float, Meta(ge=0.0, le=1.0 + ROUNDING)]
ContextText = Annotated[str, Meta(max_length=256)]
Context = Annotated[dict[ShortId, ContextText | int | float], Meta(max_length=MAX_CONTEXT)]


class Action(enum.StrEnum):
    """What a user did with an item."""

    IMPRESSION = "impression"
    PLAY = "play"
    SKIP = "skip"
    COLLECT = "collect"
    SHARE = "share"
    DISLIKE = "dislike"
    UNCOLLECT = "uncollect"


class Reason(enum.StrEnum):
    """Why a record was not used: label of the metric and field of the dead letter alike."""

    EMPTY = "empty"
    OVERSIZED = "oversized"
    MALFORMED = "malformed"  # not JSON, not UTF-8
    TOO_DEEP = "too_deep"
    WRONG_TYPE = "wrong_type"  # a field is missing or of another type
    UNKNOWN_ACTION = "unknown_action"
    OUT_OF_BOUNDS = "out_of_bounds"
    LATE = "late"
    FUTURE = "future"
    DUPLICATE = "duplicate"
    UNREADABLE = "unreadable"  # in a topic that Segue alone writes


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One act (or impression) of one user with one item. `also`: further actions of the same moment."""

    ts: EventTime
    user_id: Id
    item_id: Id
    action: Action
    event_id: ShortId | None = None
    also: Annotated[tuple[Action, ...], Meta(max_length=7)] = ()
    full: bool | None = None
    played_ms: Length | None = None
    duration_ms: Length | None = None
    domain: ShortId | None = None
    request_id: ShortId | None = None
    position: Annotated[int, Meta(ge=0, le=10_000)] | None = None
    module: ShortId | None = None
    strategy: ShortId | None = None
    propensity: Probability | None = None
    context: Context = {}


class ExposedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a served list."""

    item_id: Id
    position: Annotated[int, Meta(ge=0, le=10_000)]
    propensity: Probability | None = None  # of the item in its slot; in lists that Segue made: whatever stands in the others
    # the same, given the slots above it: what the whole slate is evaluated by
    conditional_propensity: Probability | None = msgspec.field(default=None, name="propensity_given_above")
    score: float | None = None
    popularity: Annotated[tuple[float, ...], Meta(max_length=8)] = ()  # the figures it was scored with
    source: ShortId | None = None  # of the candidate: given, popular, fresh, explore
    module: ShortId | None = None
    monetization: float | None = None  # expected value of one exposure of it, as the catalog had it then
    module_propensity: Probability | None = None  # of its module in the module's place, given those above; the item's own is given both

    @property
    def above_one(self) -> list[str]:
        """Its propensities that rounding brought above 1."""
        each = (
            ("propensity", self.propensity),
            ("conditional_propensity", self.conditional_propensity),
            ("module_propensity", self.module_propensity),
        )
        return [name for name, p in each if p is not None and p > 1]


Moments = Annotated[tuple[tuple[float, float], ...], Meta(max_length=MAX_ARMS)]  # mean and variance, by arm


class ArmDraw(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which strategies could have made a slate or a page, and the propensity of each: the policy that acted (MODEL.md section 6)."""

    surface: Literal["page", "list"]
    arms: Annotated[tuple[ShortId, ...], Meta(max_length=MAX_ARMS)]
    # computed, exploring included; they sum to 1
    propensities: Annotated[tuple[Probability, ...], Meta(max_length=MAX_ARMS)] = msgspec.field(name="chances")
    segment: Annotated[int, Meta(ge=0)]
    activity: Annotated[float, Meta(ge=0)] = 0.0  # what the segment follows from: acts so far, decayed,
    domain: Annotated[int, Meta(ge=0)] = 0  # and the key of the domain that most of them are in
    version: Annotated[int, Meta(ge=0)] = 0  # of the posteriors
    revenue_weight: float = 0.0  # against experience's 1
    experience: Moments = ()  # of the posteriors that the propensities follow from
    revenue: Moments = ()  # the same, as a share of the most that counts
    vector: Annotated[tuple[float, ...], Meta(max_length=MAX_VECTOR)] = ()  # what the ranker knew of the user, where that was looked at


class Exposure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="exposure"):
    """A list as it was served: written by a worker into the user's own partition."""

    ts: EventTime
    user_id: Id
    request_id: ShortId
    slots: Annotated[tuple[ExposedItem, ...], Meta(max_length=MAX_SLOTS)]
    event_id: ShortId | None = None
    domain: ShortId | None = None
    strategy: ShortId | None = None
    arm_draw: ArmDraw | None = msgspec.field(default=None, name="choice")  # None where the request named the strategy
    context: Context = {}
    seen: bool = True  # False: an item of it counts from its impression on, or from an act on it or on one below it
    model_version: int = 0
    model_age_ms: int = 0


def of_one_at_most(record: Event | Exposure) -> tuple[Event | Exposure, int]:
    """The record with its propensities of at most 1, and how many were above it by rounding."""
    if isinstance(record, Event):
        rounded = record.propensity is not None and record.propensity > 1
        return (replace(record, propensity=1.0), 1) if rounded else (record, 0)
    changed: dict[str, object] = {}
    n = sum(len(slot.above_one) for slot in record.slots)
    if n:
        changed["slots"] = tuple([replace(slot, **dict.fromkeys(slot.above_one, 1.0)) for slot in record.slots])
    draw = record.arm_draw
    if draw is not None and max(draw.propensities, default=0.0) > 1:
        n += sum(p > 1 for p in draw.propensities)
        changed["arm_draw"] = replace(draw, propensities=tuple([min(p, 1.0) for p in draw.propensities]))
    return (replace(record, **changed), n) if changed else (record, 0)


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="tick"):
    """Time as a record of the partition: written after quiet; `last` ends a log and closes all its joins.

    A time behind the watermark means the watermark: who closes a log need not know it.
    """

    ts: EventTime = 0
    last: bool = False


class LogBegin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="log-begin"):
    """A log follows: until its closing tick the worker writes no ticks of its own."""

    ts: EventTime
    source: Annotated[str, Meta(max_length=256)] = ""


Record = Event | Exposure | Tick | LogBegin


class Rejected(msgspec.Struct, frozen=True):
    """A record that can't be used, as a value."""

    reason: Reason
    detail: str
    raw: bytes  # the original (of the array element, where one)
