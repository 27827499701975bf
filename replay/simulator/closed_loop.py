"""The simulator's closed loops in event time: listeners arrive, are served, and react to what they are shown.

`Loop` hands a recommender all records up to each request before the request. `ClosedLoop` requests slates of any recommender, and measures
what only the simulator knows: the expected satisfaction with them. The same seed brings the same listeners at the same times with the same
luck, so that two recommenders are compared pair by pair. Pages: `page_loop.py`.
"""
from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from replay.simulator.reactions import Reaction, event, exposure, react, satisfaction
from replay.simulator.world import Session, World
from streams.core.join.events import Context, Event, ExposedItem, Exposure

Recommend = Callable[[str, int, int, str, Context], Sequence[ExposedItem]]  # user_id, ts, k, domain, context
Observe = Callable[[list[Event | Exposure]], None]  # records in time order
V = TypeVar("V")  # what a loop keeps of a visit


class PendingRecords:
    """Records of the future, kept until their time comes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._records: list[tuple[int, int, Event | Exposure]] = []
        self._count = 0

    def put(self, record: Event | Exposure) -> None:
        """Add a record."""
        heapq.heappush(self._records, (record.ts, self._count, record))
        self._count += 1

    def due(self, until: int) -> Iterator[Event | Exposure]:
        """All up to a time, in time order, ties as they were put; the world observes each as it comes."""
        while self._records and self._records[0][0] <= until:
            record = heapq.heappop(self._records)[2]
            if isinstance(record, Event):
                self._world.observe(record)
            yield record


class Loop(Generic[V]):
    """One world whose listeners come one after the other. `seed` is that of arrivals and luck; the world has its own."""

    def __init__(self, world: World, seed: int, observe: Observe) -> None:
        self.world, self.seed, self.observe = world, seed, observe
        self.visits: list[V] = []
        self.now_ms = world.settings.start_ms
        self.pending = PendingRecords(world)
        self._sessions = world.sessions(seed)

    def run(self, sessions: int) -> list[V]:
        """All visits, after `sessions` more; may be called again to go on. What is due after the last one stays due."""
        for session in islice(self._sessions, sessions):
            self._deliver(session.ts)
            self.now_ms = session.ts
            self.visits.append(self.step(session))
        return self.visits

    def finish(self) -> None:
        """Deliver all acts still to come."""
        self._deliver(1 << 62)

    def step(self, session: Session) -> V:
        """Serve a listener, put what they do for later delivery, and measure; what came before is delivered already."""
        raise NotImplementedError

    def _deliver(self, until: int) -> None:
        if records := list(self.pending.due(until)):
            self.observe(records)


class SlateVisit(NamedTuple):
    """A slate as it was served, and what came of it."""

    listener: int
    items: list[int]  # in order
    utility: float  # mean expected satisfaction with an item of the slate; 0 without any
    acts: list[Reaction]
    short: bool  # fewer items than were requested, while the domain had them


class ClosedLoop(Loop[SlateVisit]):
    """Slates of k items by any recommender."""

    def __init__(self, world: World, seed: int, recommend: Recommend, observe: Observe, k: int = 10) -> None:
        super().__init__(world, seed, observe)
        self.recommend, self.k = recommend, k

    def step(self, session: Session) -> SlateVisit:
        """Request a slate, react to it, measure it."""
        world, domain = self.world, self.world.settings.domains[session.domain].name
        slate = self.recommend(world.user_ids[session.listener], session.ts, self.k, domain, session.context)
        items = [world.index[exposed.item_id] for exposed in slate]
        acts = react(world, session, items, session.ts)
        request_id = f"{self.seed}-{session.index}"
        if items:
            self.pending.put(exposure(world, session, slate, request_id))
        for n, reaction in enumerate(acts):
            self.pending.put(event(world, session, reaction, f"{request_id}-{n}", request_id))
        v = world.utility(session, np.asarray(items, np.int64), session.ts)
        utility = float(satisfaction(world.settings, v).mean()) if items else 0.0
        short = len(items) < min(self.k, len(world.available(session.domain, session.ts)))
        return SlateVisit(session.listener, items, utility, acts, short)
