"""Records of the `events` topic: their wire form, and why a record was not used."""
from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from streams.core.json_fields import about

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

    ts: Annotated[
        EventTime,
        about("event time, ms UTC; at least `events.earliest_ts`, at most `partition.allowed_future_ms` ahead of its arrival"),
    ]
    user_id: Annotated[Id, about("who acted; a number is the same id as its decimal text, as of all ids")]
    item_id: Annotated[Id, about("with what")]
    action: Annotated[Action, about("what the user did; any act implies that the item was seen")]
    event_id: Annotated[
        ShortId | None,
        about("of the client's own: a second arrival within `partition.dedupe_window_ms` is dropped; without one each arrival is an event"),
    ] = None
    also: Annotated[
        tuple[Action, ...], Meta(max_length=7), about("further actions of the same moment, so that one row of a log is one event")
    ] = ()
    full: Annotated[
        bool | None,
        about("whether a play was full; null: `played_ms` over `duration_ms` says it, from `partition.full_play_ratio` on"),
    ] = None
    played_ms: Annotated[Length | None, about("how long it was played")] = None
    duration_ms: Annotated[Length | None, about("how long the item is: with `played_ms` it says how much of it was played")] = None
    domain: Annotated[ShortId | None, about("kind of item: song, video, longform, live …; null: as the catalog has it")] = None
    request_id: Annotated[
        ShortId | None,
        about("of the list or page that showed the item: joins the act to its exposure; null: to the user's last exposure of the item"),
    ] = None
    position: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)] | None,
        about("where the item stood, from 0 on; of an impression that no list of Segue has"),
    ] = None
    module: Annotated[ShortId | None, about("of a page, in which the item stood")] = None
    strategy: Annotated[ShortId | None, about("that chose the item, where no list of Segue has it")] = None
    propensity: Annotated[
        Probability | None, about("probability with which the item was shown in its position: what off-policy evaluation needs")
    ] = None
    context: Annotated[Context, about("what was known when the item was shown: device, scene …; attributes of the user under `user.`")] = {}


class ExposedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a served list."""

    item_id: Annotated[Id, about("the item")]
    position: Annotated[int, Meta(ge=0, le=10_000), about("from 0 on, within its module")]
    propensity: Annotated[Probability | None, about("of the item in its position, whatever stands in the others")] = None
    conditional_propensity: Annotated[
        Probability | None, about("the same, given the items in the positions before: what whole lists are evaluated by")
    ] = msgspec.field(default=None, name="propensity_given_above")
    score: Annotated[float | None, about("by which it was ordered")] = None
    popularity: Annotated[tuple[float, ...], Meta(max_length=8), about("figures that it was scored with, by half-life")] = ()
    source: Annotated[
        ShortId | None, about("of the candidate: given, own, co-listened, vectors, same-artist, same-category, popular, fresh, explore")
    ] = None
    module: Annotated[ShortId | None, about("of a page, in which it stands")] = None
    monetization: Annotated[float | None, about("expected value of one exposure of it, as the catalog had it then")] = None
    module_propensity: Annotated[
        Probability | None,
        about("of its module in the module's place, given those before; the item's own propensity is given both"),
    ] = None

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

    surface: Annotated[Literal["page", "list"], about("what was drawn for")]
    arms: Annotated[tuple[ShortId, ...], Meta(max_length=MAX_ARMS), about("strategies that could have been drawn")]
    propensities: Annotated[tuple[Probability, ...], Meta(max_length=MAX_ARMS), about("of each, exploring included; they sum to 1")] = (
        msgspec.field(name="chances")
    )
    segment: Annotated[int, Meta(ge=0), about("of the user, in the strategy bandit")]
    activity: Annotated[float, Meta(ge=0), about("what the segment follows from: feedback so far, decayed")] = 0.0
    domain: Annotated[int, Meta(ge=0), about("and the key of the domain that most of it is in; 0: none")] = 0
    version: Annotated[int, Meta(ge=0), about("of the posteriors")] = 0
    revenue_weight: Annotated[float, about("of revenue against experience's 1")] = 0.0
    experience: Annotated[Moments, about("mean and variance by arm, of the posteriors that the propensities follow from")] = ()
    revenue: Annotated[Moments, about("the same of revenue, as a share of the most that counts")] = ()
    vector: Annotated[
        tuple[float, ...], Meta(max_length=MAX_VECTOR), about("what the ranker knew of the user, where that was looked at")
    ] = ()


class Exposure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind", tag="exposure"):
    """A list as it was served: written by a worker into the user's own partition."""

    ts: Annotated[EventTime, about("when it was served, ms UTC")]
    user_id: Annotated[Id, about("to whom")]
    request_id: Annotated[ShortId, about("of the request; acts name it to be joined")]
    slots: Annotated[tuple[ExposedItem, ...], Meta(max_length=MAX_SLOTS), about("the items, in order")]
    event_id: Annotated[ShortId | None, about("of the client's own; a second arrival is dropped")] = None
    domain: Annotated[ShortId | None, about("that was requested")] = None
    strategy: Annotated[ShortId | None, about("that made the list or page")] = None
    arm_draw: Annotated[ArmDraw | None, about("how the strategy was drawn; null: the request named it")] = msgspec.field(
        default=None, name="choice"
    )
    context: Annotated[Context, about("of the request")] = {}
    seen: Annotated[
        bool,
        about("false: an item counts as seen from its impression on, or from an act on it or on one below it"),
    ] = True
    model_version: Annotated[int, about("that scored it; 0: none")] = 0
    model_age_ms: Annotated[int, about("since the learner was last heard of")] = 0


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
