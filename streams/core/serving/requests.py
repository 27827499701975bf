"""What requests for a slate and for a page have in common, and the state that they are served from.

Shapes: D = size of the ranker's user vector.
"""
from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from online_model.batch import Batch, of_candidates
from online_model.history import BEHAVIOUR
from streams.core.join import keys
from streams.core.join.catalog import Catalog
from streams.core.join.events import Action, ArmDraw, Context, Event, EventTime, Id, ShortId
from streams.core.join.features_view import NEVER, FeatureView, ItemCounts, UserMoment
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.json_fields import about
from streams.core.serving.fusion import Gamma, Scale, Weight
from streams.core.serving.model_view import ModelView
from streams.core.state.rows import PROGRESS, Progress, UserState
from streams.core.state.tables import Tables

MAX_IDS = 1_000  # given candidates or excluded items of a request, whatever the settings say
MAX_PLAYS = 50  # events of a guest: as many as a history holds
CHOICE = 1  # of the random numbers of a request: the choice of a strategy takes none of those that items are drawn by
_GUEST = "guest"
_SHOWN = np.dtype([("item", "<u8"), ("ts", "<i8")])  # rows of UserState.exposed


class Flag(enum.StrEnum):
    """What to know of a slate or a page, beside what is in it."""

    COLD = "cold"
    GUEST = "guest"
    SHORT = "short"
    UNKNOWN_CANDIDATES = "unknown_candidates"
    UNKNOWN_ITEMS = "unknown_items"
    UNKNOWN_DOMAIN = "unknown_domain"
    NO_MATCH = "no_match"
    PIN_MISSED = "pin_missed"
    NO_PROPENSITY = "no_propensity"
    UNCATEGORISED = "uncategorised"
    REPEATS = "repeats"
    CATCHING_UP = "catching_up"
    STALE = "stale"
    STALE_ROWS = "stale_rows"
    UNLOGGED = "unlogged"
    DRY_RUN = "dry_run"
    REQUEST_ID_REUSED = "request_id_reused"


FLAGS = {  # what each of them means, for the documentation
    Flag.COLD: "no model has learned yet; popularity orders",
    Flag.GUEST: "the request names no user; nothing of it is written down",
    Flag.SHORT: "fewer items, or modules, than requested",
    Flag.UNKNOWN_CANDIDATES: "some of `candidates` are not in the catalog, and are left out",
    Flag.UNKNOWN_ITEMS: "some of `seed_items`, or of the items that others are to be similar to, are not in the catalog",
    Flag.UNKNOWN_DOMAIN: "the catalog has no item of this `domain` that may be shown; without a catalog, `domain` selects nothing",
    Flag.NO_MATCH: "no item that may be shown to this user matches `filter`; without a catalog none does",
    Flag.PIN_MISSED: "a pinned item is not in its place: it may not be shown to this user or does not match `filter` and is left out, "
    "or the list ends before and it stands at the end",
    Flag.NO_PROPENSITY: "`per_artist` or `spacing` holds, or `recommend.explore_by` is `belief`, and some places were filled by chance: "
    "below the first of them the propensity is null, that given the places above is in the exposure",
    Flag.UNCATEGORISED: "nothing to show has a category, so the page is that of the control arm",
    Flag.REPEATS: "more was shown or played within the no-repeat window than is remembered, so items may come again",
    Flag.CATCHING_UP: "after a restart, the user's state still lacks much of the log; what it lacks may come again",
    Flag.STALE: "the learner was not heard of lately",
    Flag.STALE_ROWS: "event time has jumped by more than a day, between records of the log or from its end to now; what was learned before "
    "may have expired, so lists of different users may be alike for a day",
    Flag.UNLOGGED: "Kafka did not acknowledge the exposure in time; it may be lost",
    Flag.DRY_RUN: "a dry run: nothing of it is written down or remembered",
    Flag.REQUEST_ID_REUSED: "this request id was that of another request of this user, and this is that one's answer",
}


class GuestEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What a guest did lately, as the request has it; stored nowhere."""

    item_id: Annotated[Id, about("the item")]
    action: Annotated[Action, about("what the guest did")] = Action.PLAY
    ts: Annotated[EventTime | None, about("when, ms UTC; null: just now")] = None
    full: Annotated[bool | None, about("whether a play was full; null: not known")] = None


class ServingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a request for a slate and one for a page have in common."""

    user_id: Annotated[Id | None, about("for whom; null: a guest, of whom nothing is written down")] = None
    plays: Annotated[tuple[GuestEvent, ...], Meta(max_length=MAX_PLAYS), about("of a guest: what was done lately, in time order")] = ()
    domain: Annotated[ShortId | None, about("of the wanted items; null: any. Given candidates are taken as they are")] = None
    context: Annotated[Context, about("what is known of the moment: device, scene …; attributes of the user under `user.`")] = {}
    exclude: Annotated[tuple[Id, ...], Meta(max_length=MAX_IDS), about("items that must not be shown")] = ()
    exclude_artists: Annotated[
        tuple[Id, ...], Meta(max_length=MAX_IDS), about("artists of whom no item must be shown, as the catalog names them")
    ] = ()
    weights: Annotated[
        dict[str, Weight] | None,
        about("by task, or `rank`: of its probability in the score, in place of `recommend.weights`"),
    ] = None
    rank_scale: Annotated[Scale | None, about("in place of `recommend.rank_scale`")] = None
    gamma_user: Annotated[Gamma | None, about("share of the user's own level that is taken away, in place of `recommend.gamma_user`")] = (
        None
    )
    gamma_item: Annotated[Gamma | None, about("share of momentary popularity that is taken away, in place of the strategy's own")] = None
    request_id: Annotated[
        ShortId | None,
        about("send it with acts on the items; a repeated one gets the same response; null: one is made"),
    ] = None
    seen: Annotated[bool | None, about("whether what is served counts as seen, in place of `service.served_is_seen`")] = None
    dry_run: Annotated[bool, about("write and remember nothing: no exposure, no explanation, no effect on later requests")] = False


@dataclass(frozen=True, slots=True)
class RequestState:
    """A request, and all that its slate or page depends on."""

    request: ServingRequest
    request_id: str
    user: UserState  # a guest's: made of the events in the request
    item_counts: ItemCounts
    model: ModelView
    ts: int
    seed: int  # with the request's id and time, of all its random numbers

    @property
    def guest(self) -> bool:
        """Nothing of a guest is written down."""
        return self.request.user_id is None

    @property
    def user_key(self) -> int:
        """0 = a guest."""
        return keys.key("user", self.request.user_id) if self.request.user_id is not None else 0

    @property
    def domain(self) -> int | None:
        """Key of the requested domain."""
        return keys.key("domain", self.request.domain) if self.request.domain is not None else None

    def rng(self, *use: int) -> np.random.Generator:
        """The random numbers of the items, or of another use."""
        return np.random.default_rng([self.seed, keys.uncached("request", self.request_id), self.ts, *use])

    def blocked(self, window_ms: int) -> set[int]:
        """Items that must not be shown to this user now: excluded by the request, or shown or played within the window."""
        blocked = {keys.key("item", item_id) for item_id in self.request.exclude}
        past = [np.frombuffer(self.user.exposed, _SHOWN)]
        past += [np.frombuffer(history, BEHAVIOUR) for pair in self.user.histories.values() for history in pair]
        for rows in past:
            blocked.update(rows["item"][rows["ts"] > self.ts - window_ms].tolist())
        return blocked

    def may_repeat(self, window_ms: int, settings: PartitionSettings) -> bool:
        """Whether more was shown or played within the window than a user's state keeps, so that `blocked` may miss some of it.

        Exposed rows come in the order of arrival: what was forgotten is newer than any row kept by no more than the allowed
        lateness. Histories are in time order.
        """
        if self.guest or window_ms <= 0:
            return False
        start, exposed = self.ts - window_ms, np.frombuffer(self.user.exposed, _SHOWN)["ts"]
        if len(exposed) >= settings.shown_limit and int(exposed.min()) + settings.allowed_lateness_ms > start:
            return True
        times = [np.frombuffer(history, BEHAVIOUR)["ts"] for pair in self.user.histories.values() for history in pair]
        return any(len(ts) >= settings.history_limit and int(ts[0]) > start for ts in times)

    def choose_strategy(self, surface: str, view: FeatureView) -> tuple[str, ArmDraw]:
        """One of a surface's strategies, drawn by the bandit of the model view, which must have one."""
        bandit = self.model.bandit
        if bandit is None:
            raise ValueError("a strategy is chosen by a bandit, and this model view has none")
        vector = self._user_vector(view) if bandit.uses_vector(surface) else ()
        return bandit.choose(surface, *activity_and_domain(self.user, view, self.ts), float(self.rng(CHOICE).random()), vector)

    def _user_vector(self, view: FeatureView) -> Sequence[float]:
        """The ranker's user vector [D] before any item, in as many digits as are written down; empty while the model is cold."""
        if self.model.user_vector is None or self.model.cold:
            return ()
        return tuple(np.round(self.model.user_vector(self.moment(view))[0], 4).tolist())

    def moment(self, view: FeatureView) -> Batch:
        """A batch of one row: the user at this moment, before any item."""
        part = view.user_part(self.user_key, self.user, self.request.context, self.ts)
        no_item = UserMoment(view, self.user_key, self.user, self.ts).exposure(0, None, self.domain or 0, 0, None, self.item_counts)
        return of_candidates([no_item.features(part)])


def guest_state(events: Sequence[GuestEvent], settings: PartitionSettings, catalog: Catalog, ts: int) -> UserState:
    """The state that a guest's events make."""
    if not events:
        return NEVER
    records = [
        Event(ts=min(ts, e.ts if e.ts is not None else ts), user_id=_GUEST, item_id=e.item_id, action=e.action, full=e.full) for e in events
    ]
    records.sort(key=lambda event: event.ts)
    arrived = [Arrived(n, 0, event.ts, event, str(n)) for n, event in enumerate(records)]
    return applied(keys.key("user", _GUEST), None, arrived, settings, catalog) or NEVER


def applied(
    user: int, state: UserState | None, records: Sequence[Arrived], settings: PartitionSettings, catalog: Catalog, watermark_ms: int = -1
) -> UserState | None:
    """A user's state with more of their records in it. `state` is changed, so it is a copy where another is to stay as it is.

    The records go through a partition of their own, which is dropped: the code that makes every user's state makes this one.
    """
    tables = Tables.over()
    tables.meta.put(PROGRESS, Progress(watermark_ms=watermark_ms))
    if state is not None:
        tables.users.put(user.to_bytes(8, "big"), state)
    partition = Partition(settings, tables, catalog)
    partition.apply(records)
    return partition.user(user)


def activity_and_domain(user: UserState, view: FeatureView, ts: int) -> tuple[float, int]:
    """What the choice among strategies knows of a user: feedback decayed to `ts`, and the key of the domain with most of it (0 = none).

    What was only shown is no feedback. Of domains with as much feedback the one shown more often counts, of these the one changed last.
    """
    activity = max(0.0, sum(view.scopes.read(user.counts, ts)[1:]))
    domain, most = 0, (0.0, 0.0)
    for key, row in user.by_domain.items():
        impressions, *labels = view.scopes.read(row, ts)
        if (sum(labels), impressions) >= most:
            domain, most = key, (sum(labels), impressions)
    return activity, domain
