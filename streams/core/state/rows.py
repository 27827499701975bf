"""Rows of the partition's tables: users, pending slates with their exposures, pending feedback and rewards, progress."""
from __future__ import annotations

import msgspec

from online_model import history, popularity
from online_model.features import FIELDS, NO_FEEDBACK, NO_PLAY_TIMES, NO_PLAYS, Features

PROGRESS = b"progress"  # key of the one row of `meta`
_DOMAIN = FIELDS.index("domain")


class UserState(msgspec.Struct, array_like=True):
    """A user: behaviours by domain (positive, negative), decayed counts, and the last exposures."""

    histories: dict[int, tuple[bytes, bytes]] = {}
    counts: bytes = b""
    by_domain: dict[int, bytes] = {}  # least recently changed first
    by_category: dict[int, bytes] = {}
    exposed: bytes = b""  # (item uint64, ts int64) rows, oldest first
    related: dict[int, bytes] = {}  # artist or category -> its last behaviours of both families; least recently changed first
    repeats: bytes = b""  # what the user's acts count in the counts of items, see `streams.core.join.repeats`
    play_times: bytes = b""  # decayed counts of plays by how long they lasted, see `online_model.play_times`

    @property
    def liked(self) -> list[bytes]:
        """What the user liked, packed, of each domain, in the order of `histories`."""
        return [positive for positive, _ in self.histories.values()]

    @property
    def last_ms(self) -> int:
        """Event time of the newest act or exposure; -1 where none has left a trace."""
        times = [history.newest(rows)[1] for both in self.histories.values() for rows in both if rows]
        times += [int.from_bytes(self.exposed[-8:], "little")] if self.exposed else []  # served, seen or not
        return max([*times, popularity.newest(self.counts)] if self.counts else times, default=-1)


class PendingFeedback(msgspec.Struct, array_like=True):
    """An act that waits for its exposure."""

    item: int
    ts: int
    arrival_ms: int
    mask: int  # labels it sets, bit t = TASKS[t]
    resolving: bool
    undo: bool  # takes a collect back


class UserPart(msgspec.Struct, frozen=True, array_like=True):
    """The half of the features that all candidates of one moment share."""

    user: int
    context: bytes
    user_attributes: bytes
    positive: bytes
    negative: bytes
    domains: bytes
    counts: bytes  # float32 [len(COUNTS)]
    play_times: bytes = NO_PLAY_TIMES  # float32 [len(PLAY_TIMES_S)]


class PendingExposure(msgspec.Struct, array_like=True):
    """One item exposed in a slate, with its own half of the features."""

    id: int
    item: int
    shown_ms: int
    fields: bytes
    item_features: bytes
    related: bytes
    counts: bytes
    popularity: bytes
    age_s: float
    part: int = 0  # which of its slate's parts has the user's half
    labels: int = 0  # as they stand now
    made: bool = False  # the learner has its example, or does without it
    reversals: int = 0  # sent
    closed: bool = False  # its join window has passed
    without_impression: bool = False  # made by a served slate or an act, and its impression has not come yet
    followed: float = 0.0  # of what follows the user's last item, the share that is this item
    predicted: bool = False  # the learner was told of it at its moment, before any act
    seen: bool = True  # it counts as shown; False: only served, so far
    artist_feedback: bytes = NO_FEEDBACK
    weight: float = 1.0  # of 1, what it and its labels count in the counts of its item, once it is seen
    near: float = 0.0  # to the user's last items
    own_plays: bytes = NO_PLAYS
    embedding: bytes = b""  # of the item, see `Features`

    @property
    def domain(self) -> int:
        """The key of its domain, 0 = none."""
        return int.from_bytes(self.fields[8 * _DOMAIN : 8 * _DOMAIN + 8], "little")

    def features(self, part: UserPart) -> Features:
        """The features of the exposure; `part` is the user's half, of the same moment."""
        return Features(
            fields=self.fields, context=part.context, user_attributes=part.user_attributes, item_features=self.item_features,
            positive=part.positive, negative=part.negative, related=self.related, domains=part.domains,
            counts=part.counts + self.counts, popularity=self.popularity,
            age_s=self.age_s, shown_ms=self.shown_ms, followed=self.followed, artist_feedback=self.artist_feedback,
            near=self.near, own_plays=self.own_plays,
            play_times=part.play_times, embedding=self.embedding,
        )  # fmt: skip


class PendingReward(msgspec.Struct, array_like=True):
    """How the strategy of a slate was drawn, and its items from the top: what waits for the slate to close."""

    surface: str
    strategy: str
    arms: list[str]
    propensities: bytes  # float64 [K]
    segment: int
    activity: float
    domain: int
    shown_ms: int
    items: bytes  # uint64 [L], modules in page order
    monetization: bytes  # float64 [L]
    depth: int = 0  # positions down to the last one touched or seen; 0: nothing is known of the slate
    vector: bytes = b""  # float64 [V]

    def observe(self, item: int) -> None:
        """An event of an item: its position, counted from 1, is the new depth where it lies below."""
        items = memoryview(self.items).cast("Q").tolist()
        if item in items:
            self.depth = max(self.depth, items.index(item) + 1)


class PendingSlate(msgspec.Struct, array_like=True):
    """What one request (or one impression without a request id) showed to a user, until it is forgotten."""

    open: bool = False  # something in it waits for its window to close
    exposures: list[PendingExposure] = []  # in order of arrival
    parts: list[UserPart] = []  # one a moment at which items were exposed
    waiting: list[PendingFeedback] = []  # for an exposure that has not come
    pending_reward: PendingReward | bool = False  # False: its strategy was not drawn; True: its reward has left

    def exposure(self, item: int) -> PendingExposure | None:
        """The exposure of an item; None where the slate has none."""
        for exposure in self.exposures:
            if exposure.item == item:
                return exposure
        return None

    def observe(self, item: int) -> None:
        """An event of an item of the slate: it was on a screen."""
        if isinstance(self.pending_reward, PendingReward):
            self.pending_reward.observe(item)


class Progress(msgspec.Struct, array_like=True):
    """Event time of the partition, and what was counted on the way."""

    watermark_ms: int = -1
    in_log: bool = False  # between log-begin and the closing tick: no ticks of the worker's own
    open_lists: int = 0
    counted: dict[str, int] = {}
    log: int = 0  # hash of the ids of all records admitted, in order
    jumped_from_ms: int = -1  # event time before and after the last jump of more than a day
    jumped_to_ms: int = -1

    def count(self, what: str, n: int = 1) -> None:
        """Add to a counter."""
        self.counted[what] = self.counted.get(what, 0) + n
