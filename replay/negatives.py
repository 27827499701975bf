"""Negatives for logs that say what was taken and not what was exposed, plays or ratings alone: `--negatives N`.

An act becomes a slate of its own, exposed and answered at one moment: its item among N drawn ones, in random order. Drawn are items that
were there: of the catalog (once published, until they expire), or acted on by anybody before. Where the act repeats what its user had
taken before, they are drawn from this user's past, else from what this user had not taken: else familiarity alone would tell what was
taken. `adapters/sampled.py` says which of them. The exposure's `strategy` is `drawn`, so that whoever counts or prints it can say so.

    play ──► exposure of request R: its item and N drawn ones ── play of R

- Nobody could have been exposed to an item that no catalog names and nobody had acted on. Its first act moves state, and nothing is
  learned of it (`unjoined`): else newness alone would tell what was taken. So it is where nothing can be drawn.
- What comes later to an item of an open slate (a collect after the play) is feedback on that slate.
- A play that says nothing of its length, neither `full` nor both durations, counts as a full play: a positive of `full_play`. Below
  30 s, which services don't count as a play either, it stays without a label.

Same log, same N: same bytes. No draw knows what comes later. Memory is bounded: the items, and of each user the items, that were acted on
longest ago are forgotten first, as is the user who was away longest.
"""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import msgspec

from replay.adapters.sampled import BESIDE, Groups, slate
from replay.log_rows import LogRow, line_id
from streams.core.join.events import EARLIEST_TS, Action, Event
from streams.core.join.items import Item
from streams.core.join.labels import DELAYED, GOOD, RESOLVING
from streams.core.join.settings import PartitionSettings

MOST_PAIRS = 1_000_000  # of users and items: 150 MB
MOST_PAST = 1_000  # items of a user
MOST_ITEMS = 1_000_000
COUNTED_FROM_MS = 30_000  # played so long, a play of unknown length counts
JOINED_MS = PartitionSettings().join_retention_ms  # after a slate, for what may come long after it

_event = msgspec.json.Decoder(Event)


class _Kind(msgspec.Struct):
    kind: str = "event"
    action: str = ""
    also: tuple[str, ...] = ()


_kind = msgspec.json.Decoder(_Kind)


def has_exposures(rows: Iterable[LogRow]) -> bool:
    """Whether a log says what was exposed. Reads up to the first exposure or impression.

    >>> [has_exposures([LogRow(1, b'{"action": "%b"}' % action, None)]) for action in (b"play", b"impression")]
    [False, True]
    """
    for row in rows:
        if row.omitted:
            continue
        try:
            head = _kind.decode(row.raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if head.kind == "exposure" or Action.IMPRESSION in (head.action, *head.also):
            return True
    return False


class Negatives:
    """What is drawn beside the acts of a log without exposures."""

    def __init__(self, beside: int = BESIDE, items: Iterable[Item] = (), earliest_ts: int = EARLIEST_TS) -> None:
        """`beside`: items drawn for an act; 0 = none, and only plays of unknown length are counted. `items`: the catalog.

        Beside what the core rejects, as before `earliest_ts`, nothing is drawn.
        """
        self.earliest_ts = earliest_ts
        self.beside = beside
        there = [(item.published_ts or 0, item.item_id, item.domain or "", item.expires_ts) for item in items if not item.hidden]
        self.catalog = sorted(there, key=itemgetter(0, 1)) if beside else []
        self.counted = _Counts()  # of the last pass that came to its end

    def rows(self, rows: Iterable[LogRow]) -> Iterator[LogRow]:
        """The rows of a log, in order of time, with an exposure before every act that has one. Begins anew at each call."""
        walk = _Walk(self)
        for row in rows:
            yield from walk.row(row)
        self.counted = walk.counted

    def summary(self) -> str:
        """What is done to the log, before it is."""
        if not self.beside:
            return "This log has no exposures, and no negatives are drawn (--negatives 0)."
        return (
            f"This log has no exposures. Beside each act, {self.beside} items are drawn that were there and were not taken, as often "
            "taken so far as its own: exposures that nobody made. --negatives 0 draws none."
        )

    def notes(self) -> Iterator[str]:
        """What is to be known of the figures, after a pass."""
        yield self.summary()
        c = self.counted
        if c.lengthless:
            yield f"{c.lengthless:,} plays say nothing of their length: each counts as a full play, a positive of full_play."
        if c.repeats:
            yield (
                f"{c.repeats:,} of {c.slates:,} acts repeat what their user had taken before. Beside these, items of the own past are "
                "drawn, beside the others such that are new to the user."
            )
        if c.alone:
            yield (
                f"Beside {c.alone:,} acts nothing could be drawn: their item was new to log and catalog, or there was no "
                "other. They moved state, and nothing was learned of them."
            )


@dataclass(slots=True)
class _Counts:
    lengthless: int = 0  # plays that say nothing of their length
    alone: int = 0  # acts beside which nothing could be drawn
    slates: int = 0  # drawn
    repeats: int = 0  # of these, around an item that its user had taken before


class _Walk:
    """Who took what so far, and what is there."""

    def __init__(self, of: Negatives) -> None:
        self._of = of
        self.counted = _Counts()
        self._groups = Groups(most=MOST_ITEMS)
        self._published = 0  # items of the catalog
        self._expires = {item: ts for _, item, _, ts in of.catalog if ts is not None}
        self._past: dict[str, dict[str, int]] = {}  # user -> item -> time of its last slate, -1 without one; the newest last, twice
        self._pairs = 0

    def row(self, row: LogRow) -> Iterator[LogRow]:
        """A row, with its exposure before it."""
        try:
            event = None if row.omitted or row.problem else _event.decode(row.raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event = None
        actions = {event.action, *event.also} if event else set()
        if event is None or event.ts < self._of.earliest_ts or RESOLVING.isdisjoint(actions):
            yield row  # another record, or one that makes no event
            return
        changed = msgspec.structs.replace(event, full=True) if _is_full(event, actions) else event
        self.counted.lengthless += changed is not event
        if self._of.beside:
            exposure_id, items = self._beside(changed, actions)
            if items is not None and changed.request_id is None:
                changed = msgspec.structs.replace(changed, request_id=line_id(b"drawn %b" % row.raw))
            if items:
                yield LogRow(row.line, msgspec.json.encode(slate(changed, items, exposure_id)), row.arrival_ms)
        yield row if changed is event else LogRow(row.line, msgspec.json.encode(changed), row.arrival_ms)

    def _beside(self, event: Event, actions: set[Action]) -> tuple[str, list[str] | None]:
        """The id and the items of its slate; no items where nothing can be drawn, None where it belongs to a slate that is there."""
        catalog = self._of.catalog
        while self._published < len(catalog) and catalog[self._published][0] <= event.ts:
            _, item, domain, _ = catalog[self._published]
            self._published += 1
            if item not in self._groups:
                self._groups.add(item, domain)
        past = self._past.pop(event.user_id, {})
        self._past[event.user_id] = past
        last = past.pop(event.item_id, None)
        if last is not None and last >= 0 and (last == event.ts or (actions <= DELAYED and 0 <= event.ts - last <= JOINED_MS)):
            past[event.item_id] = last
            return "", None
        drawn = self._drawn(event, past, repeat=last is not None)
        if not GOOD.isdisjoint(actions):
            self._groups.take(event.item_id)
        past[event.item_id] = event.ts if drawn else -1
        self._pairs += last is None
        self._forget(past)
        self.counted.alone += not drawn
        self.counted.slates += bool(drawn)
        self.counted.repeats += bool(drawn) and last is not None
        name = line_id(f"drawn {event.ts} {event.user_id}\0{event.item_id}".encode())
        return name, self._groups.shuffled([event.item_id, *drawn]) if drawn else []

    def _drawn(self, event: Event, past: dict[str, int], repeat: bool) -> list[str]:
        """Items beside that of an act. An item that is new to all is there from now on."""

        def expired(item: str) -> bool:
            return self._expires.get(item, event.ts + 1) <= event.ts

        if event.item_id not in self._groups:
            self._groups.add(event.item_id, event.domain or "")
            return []
        if repeat:
            return self._groups.drawn_of(event.item_id, self._of.beside, list(past), expired)
        return self._groups.drawn(event.item_id, self._of.beside, lambda item: item in past or expired(item))

    def _forget(self, past: dict[str, int]) -> None:
        if len(past) > MOST_PAST:
            del past[next(iter(past))]
            self._pairs -= 1
        while self._pairs > MOST_PAIRS and len(self._past) > 1:
            self._pairs -= len(self._past.pop(next(iter(self._past))))


def _is_full(event: Event, actions: set[Action]) -> bool:
    """A play that says nothing of its length."""
    if Action.PLAY not in actions or event.full is not None or not actions.isdisjoint((Action.SKIP, Action.DISLIKE)):
        return False
    return event.played_ms is None or (not event.duration_ms and event.played_ms >= COUNTED_FROM_MS)
