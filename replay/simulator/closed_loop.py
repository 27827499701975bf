"""The simulator's closed loop in event time: listeners arrive, request a slate, and react to what they are shown.

`ClosedLoop` calls any recommender, hands it all records up to each request before the request, and measures what only the simulator knows:
the expected satisfaction with what was shown. The same seed brings the same listeners at the same times with the same luck, so that two
recommenders are compared pair by pair. Pages: `page_loop.py`.
"""
from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from replay.simulator.reactions import Reaction, event, react, realised, satisfaction
from replay.simulator.world import Session, World
from streams.core.join.events import Action, Context, Event, ExposedItem, Exposure

Recommend = Callable[[str, int, int, str, Context], Sequence[ExposedItem]]  # user_id, ts, k, domain, context
Observe = Callable[[list[Event | Exposure]], None]  # records in time order


@dataclass(slots=True)
class Outcome:
    """Figures of a run by session, in time order, and counts."""

    listener: list[int] = field(default_factory=list)
    utility: list[float] = field(default_factory=list)
    realised: list[float] = field(default_factory=list)
    shown: int = 0
    plays: int = 0
    collects: int = 0
    dislikes: int = 0
    short_lists: int = 0
    items: set[int] = field(default_factory=set)
    categories: dict[int, set[int]] = field(default_factory=dict)


class FutureRecords:
    """Records of the future; each is delivered to the world and to the observer when its time comes."""

    def __init__(self, world: World, observe: Observe) -> None:
        self.world, self.observe = world, observe
        self._records: list[tuple[int, int, Event | Exposure]] = []
        self._count = 0

    def put(self, record: Event | Exposure) -> None:
        """Add a record."""
        heapq.heappush(self._records, (record.ts, self._count, record))
        self._count += 1

    def deliver(self, until: int) -> None:
        """All that is due, in time order."""
        due: list[Event | Exposure] = []
        while self._records and self._records[0][0] <= until:
            record = heapq.heappop(self._records)[2]
            if isinstance(record, Event):
                self.world.observe(record)
            due.append(record)
        if due:
            self.observe(due)


class ClosedLoop:
    """One world served by one recommender. `seed` is that of arrivals and luck; the world has its own."""

    def __init__(self, world: World, seed: int, recommend: Recommend, observe: Observe, k: int = 10) -> None:
        self.world, self.seed, self.k = world, seed, k
        self.recommend = recommend
        self.outcome = Outcome()
        self.now_ms = world.settings.start_ms
        self._sessions = world.sessions(seed)
        self._future = FutureRecords(world, observe)

    def run(self, sessions: int) -> Outcome:
        """The next `sessions` sessions; may be called again to go on. What is due after the last one stays due."""
        for _ in range(sessions):
            self.step(next(self._sessions))
        return self.outcome

    def finish(self) -> None:
        """Deliver all acts still to come."""
        self._future.deliver(1 << 62)

    def step(self, session: Session) -> None:
        """1 deliver what happened before; 2 request a slate; 3 measure; 4 react, for later delivery."""
        self._future.deliver(session.ts)
        self.now_ms = session.ts
        world, outcome = self.world, self.outcome
        domain = world.settings.domains[session.domain].name
        user_id = world.user_ids[session.listener]
        slate = tuple(self.recommend(user_id, session.ts, self.k, domain, session.context))
        items = [world.index[exposed.item_id] for exposed in slate]
        request_id = f"{self.seed}-{session.index}"
        reactions: list[Reaction] = []
        if items:
            exposure = Exposure(
                ts=session.ts,
                user_id=user_id,
                request_id=request_id,
                slots=slate,
                event_id=f"{request_id}-x",
                domain=domain,
                context=session.context,
            )
            self._future.put(exposure)
            reactions = react(world, session, items, session.ts)
            for n, reaction in enumerate(reactions):
                self._future.put(event(world, session, reaction, f"{request_id}-{n}", request_id))
        v = world.utility(session, np.asarray(items, np.int64), session.ts)
        outcome.listener.append(session.listener)
        outcome.utility.append(float(satisfaction(world.settings, v).mean()) if items else 0.0)
        outcome.realised.append(realised(reactions))
        outcome.shown += len(items)
        outcome.short_lists += len(items) < min(self.k, len(world.available(session.domain, session.ts)))
        outcome.items.update(items)
        label = world.item_domain[items] * world.settings.categories + world.item_category[items]
        outcome.categories.setdefault(session.listener, set()).update(label.tolist())
        for reaction in reactions:
            actions = (reaction.action, *reaction.also)
            outcome.plays += Action.PLAY in actions
            outcome.collects += Action.COLLECT in actions
            outcome.dislikes += Action.DISLIKE in actions
