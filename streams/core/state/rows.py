"""Rows of the partition's tables: users, pending slates with their exposures, pending feedback and rewards, progress."""
from __future__ import annotations

import msgspec

PROGRESS = b"progress"  # key of the one row of `meta`


class UserState(msgspec.Struct, array_like=True):
    """A user: behaviours by domain (positive, negative), decayed counts, and what was lately shown."""

    histories: dict[int, tuple[bytes, bytes]] = {}
    counts: bytes = b""
    by_domain: dict[int, bytes] = {}  # least recently changed first
    by_category: dict[int, bytes] = {}
    shown: bytes = b""  # (item uint64, ts int64) rows, oldest first
    related: dict[int, bytes] = {}  # artist or category -> its last behaviours of both families; least recently changed first

    @property
    def liked(self) -> list[bytes]:
        """What the user liked, packed, of each domain, in the order of `histories`."""
        return [positive for positive, _ in self.histories.values()]


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


class PendingExposure(msgspec.Struct, array_like=True):
    """One exposed item of a list, with its own half of the features."""

    id: int
    item: int
    shown_ms: int
    fields: bytes
    item_features: bytes
    related: bytes
    counts: bytes
    popularity: bytes
    age_s: float
    part: int = 0  # which of its list's parts has the user's half
    labels: int = 0  # as they stand now
    made: bool = False  # the learner has its example
    changes: int = 0  # reversals sent
    closed: bool = False  # its join window has passed
    implied: bool = False  # made by an act that came without an exposure of its own
    followed: float = 0.0  # share of its followers that it has of the user's last item


class PendingReward(msgspec.Struct, array_like=True):
    """How the strategy of a list was chosen, and its places from the top: what waits for the list to close."""

    surface: str
    strategy: str
    arms: list[str]
    chances: bytes  # float64 [K]
    segment: int
    activity: float
    domain: int
    shown_ms: int
    items: bytes  # uint64 [L], modules in page order
    monetization: bytes  # float64 [L]
    depth: int = 0  # places down to the last one touched or seen; 0: nothing is known of the list
    vector: bytes = b""  # float64 [V]

    def place(self, item: int) -> int:
        """Counted from 1; 0 where the item is not in it."""
        items = memoryview(self.items).cast("Q").tolist()
        return items.index(item) + 1 if item in items else 0

    def see(self, item: int) -> None:
        """Something happened to one of the places."""
        self.depth = max(self.depth, self.place(item))


class PendingSlate(msgspec.Struct, array_like=True):
    """What one request (or one impression without a request id) showed to a user, until it is forgotten."""

    open: bool = False  # something in it waits for its window to close
    slots: list[PendingExposure] = []  # in order of arrival
    parts: list[UserPart] = []  # one a moment at which slots were shown
    waiting: list[PendingFeedback] = []  # for an exposure that has not come
    choice: PendingReward | bool = False  # how its strategy was chosen; True: and what it earned has been said

    def slot(self, item: int) -> PendingExposure | None:
        for slot in self.slots:
            if slot.item == item:
                return slot
        return None


class Progress(msgspec.Struct, array_like=True):
    """Where the partition's event time stands, and what was counted on the way."""

    watermark_ms: int = -1
    in_log: bool = False  # between log-begin and the closing tick: no ticks of the worker's own
    open_lists: int = 0
    counted: dict[str, int] = {}
    log: int = 0  # hash of the ids of all records admitted, in order

    def count(self, what: str, n: int = 1) -> None:
        self.counted[what] = self.counted.get(what, 0) + n
