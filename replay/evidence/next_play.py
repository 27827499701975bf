"""How often a slate made just before a play has the item that was then played: measured on a log, by the recommender that serves.

Before a play whose user has played something in the same session, Segue makes a slate from candidates of its own, with the state as
it stands before anything of that play's own moment is applied, also the exposure that an adapter makes of the play. The same
questions are put to the strategy `popular` and to two naive orders (`yardsticks.py`). Then the log goes on as in any replay; a
question changes neither state nor parameters.

hit@k: share of the questions whose item is in the list; MRR@k: mean of one over its place, 0 where it isn't there (Voorhees, TREC-8
1999). Logs hold repeats, so nothing is left out of a list for having been played before, and no slot is drawn by chance.
"""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeGuard

import msgspec
import numpy as np

from bandit.bootstrap import Interval
from replay.evidence.intervals import RESAMPLES, Users, interval
from replay.evidence.yardsticks import MostPlayed, Successors
from replay.prequential import Numbered, moments
from streams.core.join import keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.partition import Partition
from streams.core.join.records import Effects
from streams.core.learning.learn import Learner
from streams.core.serving.catalog_index import POPULAR_HALF_LIFE_H, CatalogIndex
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import POPULAR, RANKED, Recommender, RecommendSettings, Slate, SlateRequest

WITHIN_MS = keys.HOUR_MS  # since the user's last play, where the log names no sessions: what is played later begins something new
SEED = 0  # of the random candidates
SPANS = 20  # of as many questions each, over time
FEWEST = 50  # questions of a span, below which its share is noise
SEGUE, NOW, MOST, AFTER = "Segue's list", f"strategy {POPULAR}", "most played so far", "last item's successors"
ORDERS = (SEGUE, NOW, MOST, AFTER)

Session = Callable[[Event], str | None]  # what the log itself says of an event's session


class NextSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which plays become questions, and how long the slates are."""

    k: int  # items of a list
    every: int = 1  # of the plays that can become questions, the first and then one in so many
    resamples: int = RESAMPLES


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """How often an order had the item; what Segue's list has more is paired, question by question."""

    name: str
    hit: Interval
    mrr: Interval
    hit_less: Interval | None = None  # Segue's less this one's
    mrr_less: Interval | None = None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Questions that follow each other."""

    from_ms: int
    to_ms: int
    questions: int
    hits: dict[str, float]  # by order


class NextFound(msgspec.Struct, frozen=True, kw_only=True):
    """How often slates had the next item."""

    kind: str = "next"
    k: int
    every: int
    plays: int  # that could have become questions
    questions: int
    users: int
    orders: list[Order]
    spans: list[Span]
    sources: dict[str, int]  # where the hits of Segue's list came from
    question_ms: float  # for Segue's list, on average
    notes: list[str]


class _PlayRanks(NamedTuple):
    """Where the item of a play stood in each order."""

    user: int
    ts: int
    ranks: tuple[int, ...]  # of the item in each order; 0 = not in it
    source: str | None  # of the item in Segue's list


class NextPlay:
    """Asks between the records of a replay: `batches` and `after` are handed to `prequential.run`."""

    def __init__(
        self, settings: NextSettings, recommend: RecommendSettings, partition: Partition, learner: Learner,
        known: Iterable[CatalogItem] = (),
        session: Session = lambda event: None,
    ) -> None:  # fmt: skip
        """`known`: the items of the catalog. `session`: of an event, where the log says that; else a session ends after an hour."""
        self.settings = settings
        self._partition, self._learner, self._session = partition, learner, session
        self._index = CatalogIndex()
        for item in known:
            self._index.put(item, 0)
        ways = msgspec.structs.replace(recommend, no_repeat_window_ms=0, explore_share=0.0, max_k=max(settings.k, recommend.max_k))
        self._recommender = Recommender(ways, partition.settings, partition.catalog, self._index)
        self._most, self._successors = MostPlayed(settings.k), Successors(settings.k)
        self._last: dict[tuple[str | None, str], tuple[int, int]] = {}  # session, user -> item, event time
        self._could = 0  # plays met so far that can become questions, also those that are not admitted then
        self._plays = 0
        self._questions: list[_PlayRanks] = []
        self._pending: dict[tuple[int, int], _PlayRanks | None] = {}  # place in the log -> …, of the moment at hand
        self._dead: set[tuple[int, int]] = set()
        self._took_s = 0.0

    def batches(self, numbered: Iterator[Numbered]) -> Iterator[list[Numbered]]:
        """The records of one moment at a time, questioned before they are applied; what can't be read belongs to the moment before it."""
        for batch in moments(numbered):
            yield from self._moment(batch)

    def after(self, effects: Effects) -> None:
        """What a batch caused."""
        self._dead.update((dead.offset, dead.index) for dead in effects.dead)
        for increment in effects.popularity:
            self._index.add(increment)

    def _moment(self, batch: list[Numbered]) -> Iterator[list[Numbered]]:
        self._ask(batch)
        yield batch
        self._take(batch)

    def _ask(self, batch: Sequence[Numbered]) -> None:
        met = set()
        for _, arrived in batch:
            event = arrived.record
            if not _is_play(event):
                continue
            session = (self._session(event), event.user_id)
            last = self._before(session, event.ts)
            if last is None or session in met:  # of a user's second play at one moment the last item is of that moment, too
                continue
            met.add(session)
            due = self._could % self.settings.every == 0
            self._could += 1
            self._pending[arrived.offset, arrived.index] = self._ranks(event, last) if due else None

    def _take(self, batch: Sequence[Numbered]) -> None:
        """The batch has been applied: what was admitted of it counts."""
        for place, question in self._pending.items():
            if place not in self._dead:
                self._plays += 1
                self._questions += [question] if question else []
        for _, arrived in batch:
            record = arrived.record
            for slot in record.slots if isinstance(record, Exposure) else (record,) if isinstance(record, Event) else ():
                self._index.add_uncatalogued(slot.item_id)
            if _is_play(record) and (arrived.offset, arrived.index) not in self._dead:
                session, item = (self._session(record), record.user_id), keys.key("item", record.item_id)
                last = self._before(session, record.ts)
                if last is not None:
                    self._successors.add(last, item, record.domain)
                self._most.add(item, record.domain)
                self._last[session] = item, record.ts
        self._pending.clear()
        self._dead.clear()

    def _before(self, session: tuple[str | None, str], ts: int) -> int | None:
        """What this user played last in this session."""
        item, at = self._last.get(session, (None, 0))
        return item if ts >= at and (session[0] is not None or ts - at <= WITHIN_MS) else None

    def _ranks(self, event: Event, last: int) -> _PlayRanks:
        item = keys.key("item", event.item_id)
        began = time.perf_counter()
        slate = self._slate(event, RANKED)
        self._took_s += time.perf_counter() - began
        listed = [ranked.item_id for ranked in slate.items]
        now = [ranked.item_id for ranked in self._slate(event, POPULAR).items]
        most, after = self._most.best(event.domain), self._successors.best(last, event.domain)
        ranks = _rank(listed, event.item_id), _rank(now, event.item_id), _rank(most, item), _rank(after, item)
        return _PlayRanks(keys.key("user", event.user_id), event.ts, ranks, slate.items[ranks[0] - 1].source if ranks[0] else None)

    def _slate(self, event: Event, strategy: str) -> Slate:
        request = SlateRequest(
            user_id=event.user_id, k=self.settings.k, domain=event.domain, module=event.module, context=event.context, strategy=strategy
        )
        machine, learner = self._partition, self._learner
        user = machine.user(keys.key("user", event.user_id))
        model = ModelView(predict=learner.trainer.predict, vectors=learner.trainer.state.towers, version=learner.version)
        return self._recommender.recommend(request, f"{self._could}", user, machine.glance, model, event.ts, SEED).slate

    def found(self) -> NextFound:
        """The figures so far."""
        s, questions = self.settings, self._questions
        users = Users(np.array([a.user for a in questions], np.uint64))
        ranks = np.array([a.ranks for a in questions], float).reshape(-1, len(ORDERS))
        worth = np.divide(1.0, ranks, out=np.zeros_like(ranks), where=ranks > 0)
        hits = (ranks > 0).astype(float)
        orders: list[Order] = []
        if questions:
            columns = [(hits[:, n], worth[:, n]) for n in range(len(ORDERS))]
            read = users.read([users.mean(column) for pair in columns for column in pair], s.resamples)
            for n, name in enumerate(ORDERS):
                less = (interval(read[:, 0] - read[:, 2 * n]), interval(read[:, 1] - read[:, 2 * n + 1])) if n else (None, None)
                hit, mrr = interval(read[:, 2 * n]), interval(read[:, 2 * n + 1])
                orders.append(Order(name=name, hit=hit, mrr=mrr, hit_less=less[0], mrr_less=less[1]))
        sources = Counter(a.source for a in questions if a.source is not None)
        return NextFound(
            k=s.k, every=s.every, plays=self._plays, questions=len(questions), users=users.n, orders=orders,
            spans=list(_spans(np.array([a.ts for a in questions], np.int64), hits)), sources=dict(sorted(sources.items())),
            question_ms=1000 * self._took_s / max(1, len(questions)), notes=list(self._notes()),
        )  # fmt: skip

    def _notes(self) -> Iterator[str]:
        named = any(session is not None for session, _ in self._last)
        within = "in the same session of the log" if named else f"within {WITHIN_MS // keys.HOUR_MS} h"
        if not self._questions:
            yield f"No play of this log follows another of the same user {within}: there is nothing to ask."
            return
        if len({question.user for question in self._questions}) == 1:
            yield "All questions are of one user: intervals, which are over users, are undefined."
        yield f"Asked just before plays whose user had played something {within} before, for a list of that play's domain. Nobody saw it."
        yield (
            f"{NOW}: a play counts half after {POPULAR_HALF_LIFE_H:g} h. {MOST}: plain counts. {AFTER}: what was played most often right "
            "after the last item, by plain counts of all users. Repeats are allowed in every list."
        )


def _is_play(record: object) -> TypeGuard[Event]:
    return isinstance(record, Event) and Action.PLAY in (record.action, *record.also)


def _rank(order: Sequence[object], item: object) -> int:
    return order.index(item) + 1 if item in order else 0


def _spans(moments: np.ndarray, hits: np.ndarray) -> Iterator[Span]:
    """Moments [N] and hits [N, orders] cut into spans of as many questions each, in order of time."""
    order = np.argsort(moments, kind="stable")
    for rows in np.array_split(order, max(1, min(SPANS, len(order) // FEWEST))) if len(order) else ():
        shares = dict(zip(ORDERS, hits[rows].mean(0).tolist(), strict=True))
        yield Span(from_ms=int(moments[rows[0]]), to_ms=int(moments[rows[-1]]), questions=len(rows), hits=shares)
