"""How often a slate made just before a play has the item that was then played: measured on a log, by the recommender that serves.

Before a play whose user has played something in the same session, Segue makes a slate from candidates of its own, with the state as
it stands before anything of that play's own moment is applied, also the exposure that an adapter makes of the play. The same
questions are put to the strategy `popular`, to two naive orders (`yardsticks.py`) and, if asked for, to three that take more time
(`sessions.py`, `linear_mix.py`). Then the log goes on as in any replay; a question changes neither state nor parameters.

hit@k: share of the questions whose item is in the list; MRR@k: mean of one over its place, 0 where it isn't there (Voorhees, TREC-8
1999). Logs hold repeats, so nothing is left out of a list for having been played before, and no slot is drawn by chance.
"""
from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeGuard

import msgspec

from replay.evidence.intervals import RESAMPLES
from replay.evidence.linear_mix import LinearMix, Question
from replay.evidence.next_found import RETRIEVED, Figures, NextFound, PlayRanks
from replay.evidence.sessions import Sessions
from replay.evidence.yardsticks import MostPlayed, Successors
from replay.prequential import Numbered, moments
from streams.core.join import keys
from streams.core.join.catalog import CatalogItem
from streams.core.join.events import Action, Event, Exposure
from streams.core.join.features_view import ItemCounts
from streams.core.join.partition import Partition
from streams.core.join.records import Effects
from streams.core.learning.learn import Learner
from streams.core.serving.catalog_index import POPULAR_HALF_LIFE_H, CatalogIndex
from streams.core.serving.model_view import ModelView
from streams.core.serving.recommend import POPULAR, RANKED, Recommender, RecommendSettings, Slate, SlateRequest
from streams.core.serving.scoring import SlateItem
from streams.core.state.rows import UserState

WITHIN_MS = keys.HOUR_MS  # since the user's last play, where the log names no sessions: what is played later begins something new
SEED = 0  # of the random candidates
SEGUE, NOW, MOST, AFTER = "Segue's list", f"strategy {POPULAR}", "most played so far", "last item's successors"
ORDERS = (SEGUE, NOW, MOST, AFTER)
RECENT, NEIGHBOURS, MIX = "last eight's successors", "neighbouring sessions", "linear mix"
SLOW = (RECENT, NEIGHBOURS, MIX)
LEARNED = 4  # of the plays that can become questions, the second and then one in so many teaches the mix, beside the questions

Session = Callable[[Event], str | None]  # what the log itself says of an event's session


class NextSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which plays become questions, and how long the slates are."""

    k: int  # items of a list
    every: int = 1  # of the plays that can become questions, the first and then one in so many
    yardsticks: bool = False  # also the slow ones
    resamples: int = RESAMPLES


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
        longest = recommend.quota().total + settings.k  # of a list of all candidates
        ways = msgspec.structs.replace(recommend, no_repeat_window_ms=0, explore_share=0.0, max_k=longest)
        self._recommender = Recommender(ways, partition.settings, partition.catalog, self._index)
        self._most, self._successors = MostPlayed(settings.k), Successors(settings.k)
        self._sessions = Sessions()
        self._mix = LinearMix(self._sessions, settings.k) if settings.yardsticks else None
        self.names = (*ORDERS, *(SLOW if settings.yardsticks else ()))
        self._counts = Counter[int]()  # plays by item
        self._played: dict[str, set[int]] = defaultdict(set)  # items by user
        self._last: dict[tuple[str | None, str], tuple[int, int]] = {}  # session, user -> item, event time
        self._could = 0  # plays met so far that can become questions, also those that are not admitted then
        self._plays = 0
        self._questions: list[PlayRanks] = []
        self._pending: dict[tuple[int, int], PlayRanks | None] = {}  # place in the log -> …, of the moment at hand
        self._asked: dict[tuple[int, int], tuple[Question, Event]] = {}  # of these, what the mix is to learn from
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
            due, place = self._could % self.settings.every == 0, (arrived.offset, arrived.index)
            question = None
            if self._mix and (due or self._could % LEARNED == 1):
                question = self._mix.ask(session, event.user_id, event.domain)
                self._asked[place] = question, event
            self._could += 1
            self._pending[place] = self._ranks(event, last, question) if due else None

    def _take(self, batch: Sequence[Numbered]) -> None:
        """The batch has been applied: what was admitted of it counts."""
        for place, question in self._pending.items():
            if place not in self._dead:
                self._plays += 1
                self._questions += [question] if question else []
                if self._mix and place in self._asked:
                    known, event = self._asked[place]
                    self._mix.learn(known, self._sessions.number(keys.key("item", event.item_id), event.domain))
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
                if self._mix:
                    self._sessions.add(session, record.user_id, item, record.domain, begins=last is None)
                self._counts[item] += 1
                self._played[record.user_id].add(item)
                self._last[session] = item, record.ts
        self._pending.clear()
        self._asked.clear()
        self._dead.clear()

    def _before(self, session: tuple[str | None, str], ts: int) -> int | None:
        """What this user played last in this session."""
        item, at = self._last.get(session, (None, 0))
        return item if ts >= at and (session[0] is not None or ts - at <= WITHIN_MS) else None

    def _ranks(self, event: Event, last: int, question: Question | None) -> PlayRanks:
        item, k = keys.key("item", event.item_id), self.settings.k
        ranked = self._ranked(event)
        place = _rank([each.item_id for each in ranked], event.item_id)
        now = [each.item_id for each in self._slate(event, POPULAR, k).items]
        ranks = [place if place <= k else 0, _rank(now, event.item_id)]
        ranks += [_rank(order, item) for order in (self._most.best(event.domain), self._successors.best(last, event.domain))]
        if question:
            number = self._sessions.number(item, event.domain)
            ranks += [_rank(order.tolist(), number) for order in (question.recent, question.neighbours, question.mixed)]
        ahead, pool = Counter(each.source for each in ranked[: max(0, place - 1)]), Counter(each.source for each in ranked)
        return PlayRanks(
            user=keys.key("user", event.user_id), ts=event.ts, ranks=tuple(ranks), place=place,
            source=ranked[place - 1].source if place else None, ahead=tuple(ahead[source] for source in RETRIEVED),
            pool=tuple(pool[source] for source in RETRIEVED), repeat=item in self._played[event.user_id], plays=self._counts[item],
        )  # fmt: skip

    def _ranked(self, event: Event) -> Sequence[SlateItem]:
        """All candidates of Segue's list, in its order: those above the k-th are the list."""
        began = time.perf_counter()
        size = len(self._recommender.candidates(*self._request(event, RANKED, self.settings.k), event.ts, SEED, self._model()))
        items = self._slate(event, RANKED, size).items if size else []
        self._took_s += time.perf_counter() - began
        return items

    def _request(self, event: Event, strategy: str, k: int) -> tuple[SlateRequest, str, UserState | None, ItemCounts]:
        request = SlateRequest(
            user_id=event.user_id, k=k, domain=event.domain, module=event.module, context=event.context, strategy=strategy
        )
        return request, f"{self._could}", self._partition.user(keys.key("user", event.user_id)), self._partition.glance

    def _slate(self, event: Event, strategy: str, k: int) -> Slate:
        return self._recommender.recommend(*self._request(event, strategy, k), self._model(), event.ts, SEED).slate

    def _model(self) -> ModelView:
        trainer = self._learner.trainer
        return ModelView(predict=trainer.predict, vectors=trainer.state.towers, version=self._learner.version)

    def found(self) -> NextFound:
        """The figures so far."""
        s, questions = self.settings, self._questions
        figures = Figures(questions, s.k, s.resamples) if questions else None
        return NextFound(
            k=s.k, every=s.every, plays=self._plays, questions=len(questions), users=figures.users if figures else 0,
            orders=figures.orders(self.names) if figures else [], sources=figures.sources() if figures else [],
            kinds=figures.kinds() if figures else [], spans=list(figures.spans(self.names)) if figures else [],
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
        yield (
            "A candidate counts for the source that brought it first, in the order of the table. Without a source: the same ranked "
            "candidates without its own, and nothing in their place."
        )
        if self._mix:
            yield f"{RECENT}, fading; {NEIGHBOURS} (after STAN, SIGIR 2019); {MIX} of ten features of some 400 candidates, learned online."


def _is_play(record: object) -> TypeGuard[Event]:
    return isinstance(record, Event) and Action.PLAY in (record.action, *record.also)


def _rank(order: Sequence[object], item: object) -> int:
    return order.index(item) + 1 if item in order else 0
