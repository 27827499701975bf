"""What becomes of a log (DESIGN.md sections 3 and 5), told by loops over lists: `streams.core.join.partition` must tell the same.

Users, items and requests stay strings; nothing is stored, hashed, packed or indexed.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from online_model.features import COUNTS, TASKS
from streams.core.join.events import Action, Event, Exposure, Tick
from streams.core.join.settings import PartitionSettings
from tests.oracles import history
from tests.oracles.popularity import HALF_LIVES_H

MINUTE, HOUR = 60_000, 3_600_000
RATE_HALF_LIFE_H = 168.0  # the default of `rate_half_life_h`
MOST_REVERSALS, MOST_WAITING, MOST_SLOTS = 8, 64, 200
RESOLVING = (Action.PLAY, Action.SKIP, Action.DISLIKE, Action.COLLECT, Action.SHARE)
LONG_AFTER = (Action.COLLECT, Action.SHARE, Action.DISLIKE, Action.UNCOLLECT)  # acts on what one was shown, also long ago
GOOD = (Action.PLAY, Action.COLLECT, Action.SHARE)

Labels = frozenset[str]
Behaviour = tuple[str, int, str, str]  # item, ts, domain, what


class Count(NamedTuple):
    """What one event adds to the counts of its user and its item."""

    user: str
    domain: str
    item: str
    ts: int
    columns: Labels
    sign: int
    before: tuple[str, ...] = ()  # the items that it followed, the nearest first
    weight: float = 1.0  # of what it adds to the counts of the item; to those of the user it adds the whole


@dataclass
class Known:
    """What was known when an item was shown: the features that follow from the log."""

    positive: list[Behaviour]  # of the user, all domains
    negative: list[Behaviour]
    counts: dict[str, list[float]]  # scope -> exposures and labels, decayed; and the item's popularity
    followed: float  # share of what others took right after the user's last item
    near: float  # what others took close to the user's last items
    own: list[float]  # what the user took before


@dataclass(eq=False)
class Shown:
    """One item shown to one user at one moment, and all that the learner hears of it."""

    user: str
    item: str
    list_: str
    ts: int
    without_impression: bool  # no impression has said so: an act did, or who served it
    known: Known | None = None
    labels: Labels = frozenset()
    example: tuple[Labels, int, int] | None = None  # labels, ts, arrival of the act (0: none)
    reversals: list[tuple[str, int, int, int]] = field(default_factory=list)  # task, sign, ts, arrival
    closed: tuple[Labels, int] | None = None  # labels, ts
    domain: str = ""
    seen: bool = True  # False: served, and not known to have been on a screen
    over: bool = False  # its window has passed
    weight: float = 1.0  # in the counts of its item


@dataclass(eq=False)
class Act:
    """What an event says of an item, the impression aside."""

    user: str
    item: str
    list_: str
    ts: int
    arrival: int
    sets: Labels
    resolving: bool
    undo: bool


@dataclass(eq=False)
class Earning:
    """A list whose strategy was chosen, and what it earned once that has been said."""

    user: str
    list_: str
    strategy: str
    shown_ms: int
    places: dict[str, float]  # item -> monetization, from the top
    seen: set[str] = field(default_factory=set)  # items that something happened to
    said: tuple[int, float, float, bool] | None = None  # ts, experience, revenue, seen


UTILITY = {"full_play": 0.5, "collect": 2.0, "share": 2.0, "skip": -0.5, "dislike": -4.0}  # MODEL.md section 1
FULL_EXPERIENCE = 2.0  # the default of `reward.experience_full`


class Story:
    """All that happened in a log, from its beginning."""

    def __init__(self, settings: PartitionSettings) -> None:
        self.settings = settings
        self.now = -1
        self.shown: list[Shown] = []  # ever
        self.there: list[Shown] = []  # not forgotten
        self.waiting: list[Act] = []
        self.ids: list[tuple[str, int]] = []  # id, until when it is remembered
        self.rejected: list[tuple[int, str]] = []  # place in the log, reason
        self.unjoined = 0
        self.counts: list[Count] = []
        self.noticed: list[Shown] = []  # by the record at hand
        self.own: dict[tuple[str, str, str], list[tuple[int, float]]] = {}  # of user, item and kind: (ts, what it counted)
        self.positive: dict[tuple[str, str], list[Behaviour]] = {}  # by user and domain
        self.changed: list[tuple[str, str]] = []  # whose behaviours changed, in order
        self.negative: dict[tuple[str, str], list[Behaviour]] = {}
        self.lately: dict[str, list[tuple[str, int]]] = {}  # user -> (item, ts) that were shown
        self.earnings: list[Earning] = []  # ever
        self.earning: dict[tuple[str, str], Earning] = {}  # by list, as long as it is not forgotten
        self.late_rewards = self.unusable_choices = 0

    def tell(self, log: Sequence[tuple[Event | Exposure | Tick, str, int]]) -> Story:
        """Records, each with its id and its arrival."""
        s = self.settings
        for place, (record, name, arrival) in enumerate(log):
            if isinstance(record, Tick):
                self.move(record.ts)
                if record.last:
                    self.end()
            elif record.ts > arrival + s.allowed_future_ms:
                self.rejected.append((place, "future"))
            elif record.ts < self.now - s.allowed_lateness_ms:
                self.rejected.append((place, "late"))
            elif any(name == known for known, _ in self.ids):
                self.rejected.append((place, "duplicate"))
            else:
                self.ids.append((name, max(record.ts, self.now) + s.dedupe_window_ms))
                self.move(record.ts)
                if isinstance(record, Exposure):
                    self.exposure(record)
                else:
                    self.event(record, name, arrival)
        return self

    def move(self, ts: int) -> None:
        """Time moves on: windows close strictly behind their end; what is old is forgotten once a minute."""
        s = self.settings
        if ts <= self.now:
            return
        minute, self.now = self.now // MINUTE, ts
        for one in self.there:
            if not one.over and one.ts + s.join_window_ms < ts:
                self.close(one)
        for act in list(self.waiting):
            if act.ts + s.join_window_ms < ts:
                self.waiting.remove(act)
                self.unjoined += 1
        self.earned()
        if ts // MINUTE > minute:
            for one in self.there:
                if one.ts + s.join_retention_ms < ts and (one.user, one.list_) in self.earning:
                    self.earn(self.earning[one.user, one.list_])
            self.there = [one for one in self.there if one.ts + s.join_retention_ms >= ts]
            self.ids = [(name, until) for name, until in self.ids if until >= ts]
        remembered = {(each.user, each.list_) for each in (*self.there, *self.waiting)}
        self.earning = {place: e for place, e in self.earning.items() if place in remembered}

    def end(self) -> None:
        """The end of a log closes all."""
        for one in self.there:
            if not one.over:
                self.close(one)
        self.unjoined += len(self.waiting)
        self.waiting = []
        self.earned()

    def earned(self) -> None:
        """Say of every list that has closed as a whole what it earned."""
        for (user, list_), earning in self.earning.items():
            is_open = any((one.user, one.list_) == (user, list_) and not one.over for one in self.there)
            if not is_open and not any((act.user, act.list_) == (user, list_) for act in self.waiting):
                self.earn(earning)

    def earn(self, of: Earning) -> None:
        if of.said is not None:
            return
        mine = {one.item: one.labels for one in self.there if (one.user, one.list_) == (of.user, of.list_)}
        utility = sum(UTILITY[label] for item in of.places for label in mine.get(item, frozenset()))
        last = max([n for n, item in enumerate(of.places) if item in of.seen], default=-1)
        revenue = sum(list(of.places.values())[: last + 1])
        of.said = (self.now, min(1.0, max(0.0, utility / FULL_EXPERIENCE)), revenue, last >= 0)

    def close(self, one: Shown) -> None:
        one.over = True
        if not one.seen:
            return
        if one.example is None:
            one.example = (one.labels, self.now, 0)
        one.closed = (one.labels, self.now)

    def notice(self, one: Shown, ts: int, act: bool) -> list[Shown]:
        """What is known to have been seen from now on: an item of an impression; of an act, what lies above it in its list, too."""
        listed = [each for each in self.there if (each.user, each.list_) == (one.user, one.list_)]
        new = [each for each in (listed[: listed.index(one) + 1] if act else [one]) if not each.seen]
        for each in new:
            each.seen = True
            self.noticed.append(each)
        return new

    def show(
        self, user: str, domain: str, list_: str, items: Sequence[str], ts: int, without_impression: bool, seen: bool = True
    ) -> list[Shown]:  # fmt: skip
        """Items shown at one moment; acts that came before them join."""
        new = [
            Shown(user, item, list_, ts, without_impression, self.known(user, domain, item, ts), domain=domain, seen=seen) for item in items
        ]  # fmt: skip
        self.shown += new
        self.there += new
        mine = [one for one in self.there if (one.user, one.list_) == (user, list_)]
        for one in mine[:-MOST_SLOTS]:
            if not one.over:
                self.close(one)
            self.there.remove(one)
        for one in new:
            for act in list(self.waiting):
                if (act.user, act.list_, act.item) == (user, list_, one.item):
                    self.waiting.remove(act)
                    self.see(one)
                    self.act(one, act)
        for one in new:
            if seen:
                self.count_seen(one, ts)
            self.lately[user] = [*self.lately.get(user, []), (one.item, ts)][-self.settings.shown_limit :]
        return new

    def known(self, user: str, domain: str, item: str, ts: int) -> Known:
        scopes = {
            "user": [c for c in self.counts if c.user == user],
            "user_domain": [c for c in self.counts if (c.user, c.domain) == (user, domain)],
            "item": [c for c in self.counts if c.item == item and c.weight > 0],
        }
        whole = {name: [c._replace(weight=1.0) for c in rows] if name != "item" else rows for name, rows in scopes.items()}
        counts = {name: [decayed(rows, column, ts, RATE_HALF_LIFE_H) for column in COUNTS] for name, rows in whole.items()}
        counts["popularity"] = [decayed(scopes["item"], "popular", ts, half_life_h) for half_life_h in HALF_LIVES_H]
        families = ([row for (of, _), rows in family.items() if of == user for row in rows] for family in (self.positive, self.negative))
        past = list(dict.fromkeys(row[0] for row in self.liked(user, ts, ts, 16)))[:8]
        followed = self.near_share(past[0], item, ts, nexts=True) if past and self.liked(user, ts, HOUR, 1) else 0.0
        near = sum(0.8**n * self.near_share(each, item, ts, nexts=False) for n, each in enumerate(past))
        return Known(*families, counts, followed, near, self.own_plays(user, item, ts))

    def near_share(self, of: str, item: str, ts: int, nexts: bool) -> float:
        """How much of what was counted around an item is another one."""
        counted: list[tuple[str, float]] = []
        for c in self.counts:
            faded = c.weight * 2.0 ** ((c.ts - ts) / (365 * 86_400_000))
            for n, each in enumerate(c.before):
                if each == of and not (nexts and n):
                    counted.append((c.item, faded * 0.7**n))
                if c.item == of and not nexts:
                    counted.append((each, faded * 0.7**n / 2))
        return sum(n for other, n in counted if other == item) / (2 + sum(n for _, n in counted))

    def own_plays(self, user: str, item: str, ts: int) -> list[float]:
        rows = self.liked(user, ts, ts, 1_000)
        at = [n for n, row in enumerate(rows) if row[0] == item]
        if not at:
            return [0.0] * 5
        plays = [rows[n][1] for n in at]
        again = sum(rows[n][0] == item and rows[n + 1][0] == rows[0][0] for n in range(len(rows) - 1))
        faded = sum(2.0 ** ((each - ts) / (168 * HOUR)) for each in plays)
        return [len(at), faded, 1 / (1 + at[0]), (ts - plays[0]) / 1000, again]

    def act(self, one: Shown, act: Act) -> tuple[Labels, Labels]:
        """(Labels that this act set, labels that it took back.)"""
        late = [each for each in self.notice(one, act.ts, True) if each.over]
        before = one.labels
        after = (before | act.sets) - (frozenset({"collect"}) if act.undo else frozenset())
        if one.example is None:
            one.labels = after
            if act.resolving:
                one.example = (after, act.ts, act.arrival)
        elif after != before and len(one.reversals) < MOST_REVERSALS:
            one.labels = after
            one.reversals += [(task, 1 if task in after else -1, act.ts, act.arrival) for task in TASKS if task in before ^ after]
        for each in late:
            self.close(each)
        return one.labels - before, before - one.labels

    def exposure(self, record: Exposure) -> None:
        list_ = f"request {record.request_id}"
        known = {one.item for one in self.there if (one.user, one.list_) == (record.user_id, list_)}
        choice = record.arm_draw
        if choice is not None and record.slots:
            if choice.propensities[choice.arms.index(record.strategy or "")] == 0:
                self.unusable_choices += 1
            elif (record.user_id, list_) not in self.earning:
                places = {slot.item_id: slot.monetization or 0.0 for slot in reversed(record.slots)}
                places = {slot.item_id: places[slot.item_id] for slot in record.slots}
                earning = Earning(record.user_id, list_, record.strategy or "", record.ts, places, known & set(places))
                self.earnings.append(earning)
                self.earning[record.user_id, list_] = earning
        items = dict.fromkeys(slot.item_id for slot in record.slots if slot.item_id not in known)
        self.show(record.user_id, record.domain or "", list_, list(items), record.ts, True, record.seen)
        self.count_noticed(record.ts)
        self.earned()  # at once where its items were there, and have closed

    def event(self, event: Event, name: str, arrival: int) -> None:
        actions, full, partial = said(event, self.settings)
        user, item, undo = event.user_id, event.item_id, Action.UNCOLLECT in actions
        resolving = any(action in actions for action in RESOLVING)
        one, list_ = self.find(event, name, actions, resolving)

        sets = {action.value for action in (Action.COLLECT, Action.SHARE, Action.SKIP, Action.DISLIKE) if action in actions}
        sets |= {"full_play"} if full else set()
        fresh, gone = frozenset(sets), frozenset[str]()
        if resolving or undo:
            act = Act(user, item, list_, event.ts, arrival, frozenset(sets), resolving, undo)
            if one is not None:
                fresh, gone = self.act(one, act)
                earning = self.earning.get((one.user, one.list_))
                self.late_rewards += earning is not None and earning.said is not None
            elif event.request_id is not None and sum((w.user, w.list_) == (user, list_) for w in self.waiting) < MOST_WAITING:
                self.waiting.append(act)
            else:
                self.unjoined += 1
        before = self.before(user, item, event.ts) if any(action in actions for action in GOOD) else ()
        found = self.behave(event, actions, full, partial) - gone

        if one is not None:
            self.see(one)
            for each in [] if resolving or undo else self.notice(one, event.ts, False):
                if each.over:
                    self.close(each)
        self.count_noticed(event.ts)
        popular = frozenset({"popular"} if any(action in actions for action in GOOD) else ())
        plain = Count(user, event.domain or "", item, event.ts, fresh | popular, 1, before)
        weight = self.weigh(user, item, "acts", event.ts) if popular or (fresh and one is None) else 0.0
        of_labels = weight if one is None else one.weight
        if of_labels == weight:
            counts = [plain._replace(weight=weight)]
        else:
            counts = [plain._replace(columns=fresh, weight=of_labels, before=()), plain._replace(columns=popular, weight=weight)]
        counts.append(plain._replace(columns=gone, sign=-1, before=(), weight=of_labels))
        if found:
            counts.append(plain._replace(columns=found, sign=-1, before=(), weight=self.take_back(user, item, event.ts)))
        self.counts += [count for count in counts if count.columns]

    def count_noticed(self, ts: int) -> None:
        """Count what the record at hand has shown to be seen, at its own time."""
        for one in self.noticed:
            self.count_seen(one, ts)
        self.noticed = []

    def count_seen(self, one: Shown, ts: int) -> None:
        one.weight = self.weigh(one.user, one.item, "exposures", ts)
        self.counts.append(Count(one.user, one.domain, one.item, ts, frozenset({"exposures"}), 1, weight=one.weight))

    def weigh(self, user: str, item: str, kind: str, ts: int) -> float:
        """1 less the share of the limit that the user's own, decayed by a week, have used up."""
        own = self.own.setdefault((user, item, kind), [])
        weight = max(0.0, 1.0 - week_old(own, ts) / self.settings.repeat_limit)
        own.append((ts, weight))
        return weight

    def take_back(self, user: str, item: str, ts: int) -> float:
        """A whole act, or what is left of the user's own."""
        own = self.own.setdefault((user, item, "acts"), [])
        weight = min(1.0, week_old(own, ts))
        own.append((ts, -weight))
        return weight

    def see(self, one: Shown) -> None:
        """Something happened to an item of a list."""
        earning = self.earning.get((one.user, one.list_))
        if earning is not None and one.item in earning.places:
            earning.seen.add(one.item)

    def find(self, event: Event, name: str, actions: set[Action], resolving: bool) -> tuple[Shown | None, str]:
        """What an event is about, and its list: by request where one is named, else what this user was last shown of the item."""
        user, item, impression = event.user_id, event.item_id, Action.IMPRESSION in actions
        same = [one for one in self.there if (one.user, one.item) == (user, item)]
        if event.request_id is not None:
            list_ = f"request {event.request_id}"
            for one in same:
                if one.list_ == list_:
                    one.without_impression = one.without_impression and not impression
                    return one, list_
            may_show = impression
        else:
            list_ = f"event {name}"
            ever = [one for one in self.shown if (one.user, one.item) == (user, item)]
            if ever and ever[-1] in same:
                one = ever[-1]
                if all(action in LONG_AFTER for action in actions):
                    return one, one.list_
                if not one.over and (not impression or one.without_impression):  # an impression may come behind its act, once
                    one.without_impression = one.without_impression and not impression
                    return one, one.list_
            may_show = impression or resolving  # an act implies its impression
        if not may_show:
            return None, list_
        return self.show(user, event.domain or "", list_, [item], event.ts, not impression)[0], list_

    def liked(self, user: str, ts: int, within: int, most: int) -> list[Behaviour]:
        """What the user liked until a moment, newest first; of equal times, in the domain that changed last first."""
        places = dict.fromkeys(place for place in reversed(self.changed) if place[0] == user)
        rows = [row for place in places for row in self.positive[place][::-1][:most]]
        return sorted([row for row in rows if 0 <= ts - row[1] <= within], key=lambda row: -row[1])

    def before(self, user: str, item: str, ts: int) -> tuple[str, ...]:
        """Up to four other items that the user liked last, within the hour; none where the last is the same again."""
        rows = [row[0] for row in self.liked(user, ts, HOUR, 8)]
        return () if rows[:1] == [item] else tuple(dict.fromkeys(each for each in rows if each != item))[:4]

    def behave(self, event: Event, actions: set[Action], full: bool, partial: bool) -> Labels:
        """The user's behaviours, one a family and event: the strongest of what was said. Returns what an undo took back."""
        place, limit, gone = (event.user_id, event.domain or ""), self.settings.history_limit, frozenset[str]()
        positive, negative = self.positive.get(place, []), self.negative.get(place, [])
        if Action.UNCOLLECT in actions:
            without = history.undo(positive, event.item_id, "collect")
            gone = frozenset({"collect"}) if len(without) < len(positive) else gone
            positive = without
        for there, what in (
            (Action.COLLECT in actions, "collect"), (Action.SHARE in actions, "share"), (full, "full_play"), (partial, "partial_play"),
        ):  # fmt: skip
            if there:
                positive = history.append(positive, (event.item_id, event.ts, place[1], what), limit)
                break
        for there, what in ((Action.DISLIKE in actions, "dislike"), (Action.SKIP in actions, "skip")):
            if there:
                negative = history.append(negative, (event.item_id, event.ts, place[1], what), limit)
                break
        self.positive[place], self.negative[place] = positive, negative
        if not {Action.UNCOLLECT, Action.COLLECT, Action.SHARE, Action.DISLIKE, Action.SKIP}.isdisjoint(actions) or full or partial:
            self.changed.append(place)
        return gone


def week_old(own: Sequence[tuple[int, float]], at: int) -> float:
    return sum(weight * 2.0 ** ((ts - at) / (168 * 3_600_000)) for ts, weight in own)


def decayed(rows: Sequence[Count], column: str, at: int, half_life_h: float) -> float:
    """Each count of a column has halved once a half-life since its time; no time before the newest count is read."""
    at = max([at, *(row.ts for row in rows)])
    return sum(row.sign * row.weight * 2.0 ** (-(at - row.ts) / 3_600_000 / half_life_h) for row in rows if column in row.columns)


def said(event: Event, s: PartitionSettings) -> tuple[set[Action], bool, bool]:
    """(Actions that hold, is it a full play, is it a partial one.) A collect and its undo at one moment are no collect."""
    actions = {event.action, *event.also}
    if Action.UNCOLLECT in actions:
        actions -= {Action.COLLECT}
    if Action.PLAY not in actions:
        return actions, False, False
    ratio = event.played_ms / event.duration_ms if event.played_ms is not None and event.duration_ms else None
    full = event.full if event.full is not None else ratio is not None and ratio >= s.full_play_ratio
    return actions, full, not full and (ratio is None or ratio >= s.partial_play_ratio)
