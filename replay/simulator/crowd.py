"""The world's listeners in front of a live service: what they ask, and how they react to its answer.

Bytes in, records out: the network belongs to `streams/demo/listeners.py`, the clock to the caller. Who comes next follows
the simulated day, at the rate the caller asks; acts carry the caller's time and lie in its future.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import isnan
from typing import NamedTuple

import msgspec

from replay.simulator.page_curves import categories, overlap
from replay.simulator.page_reactions import Place, read, records
from replay.simulator.reactions import Reaction, event, looked, react
from replay.simulator.world import Session, World
from streams.core.join.events import Action, Context, Event
from streams.core.serving.recommend import ALL
from streams.core.serving.surfaces import Varieties, Variety

LAST = 256  # lists or pages of a strategy that its figures are of
STRATEGIES = 64  # of a surface that are told apart


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """The request of a list, as far as listeners know."""

    user_id: str
    k: int
    domain: str
    context: Context


class ServedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the answer, as far as listeners look."""

    item_id: str


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, as far as listeners look; items in order."""

    request_id: str
    strategy: str = ""
    items: list[ServedItem]


class AskPage(msgspec.Struct, frozen=True, kw_only=True):
    """The request of a page, as far as listeners know: how large it is, the service decides."""

    user_id: str
    domain: str
    context: Context


class ServedModule(msgspec.Struct, frozen=True, kw_only=True):
    """A module of the answer, as far as listeners look; items in order."""

    name: str
    items: list[ServedItem]


class ServedPage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer, as far as listeners look; modules in order."""

    request_id: str
    strategy: str = ""
    modules: list[ServedModule]


class Seen(NamedTuple):
    """What a listener looked at in one list or page, and did."""

    listener: int
    items: list[int]
    plays: int
    dislikes: int


class Crowd:
    """`pace`: how much faster than in life they listen. A list takes an hour / pace at most: the join window must hold it."""

    def __init__(self, world: World, seed: int, k: int = 10, pace: float | None = None) -> None:
        self.world, self.k, self.pace = world, k, pace
        self._sessions = world.sessions(seed)
        self._name = f"{world.settings.start_ms:x}-{seed}"  # of events: never that of an earlier run
        self._acts = self._pages = 0
        self._category = world.item_domain * world.settings.categories + world.item_category
        self._seen: dict[str, dict[str, deque[Seen]]] = {}  # surface -> strategy, ALL first -> the last ones

    def ask(self, now_ms: int) -> tuple[bytes, Session]:
        """The next listener's request (JSON), and what `react` wants back."""
        session = next(self._sessions)
        ask = Ask(
            user_id=self.world.user_ids[session.listener],
            k=self.k,
            domain=self.world.settings.domains[session.domain].name,
            context=session.context,
        )
        return msgspec.json.encode(ask), session

    def ask_page(self, now_ms: int) -> tuple[bytes, Session]:
        """The next listener's request of a page (JSON), and what `react_page` wants back."""
        session = next(self._sessions)
        domain = self.world.settings.domains[session.domain].name
        ask = AskPage(user_id=self.world.user_ids[session.listener], domain=domain, context=session.context)
        return msgspec.json.encode(ask), session

    def react_page(self, session: Session, answer: bytes, now_ms: int) -> list[Event]:
        """Acts on the page (JSON) and one impression, as `react` does; within the same hour / pace."""
        served = msgspec.json.decode(answer, type=ServedPage)
        index = self.world.index
        page = [
            [Place(module.name, n, index[item.item_id]) for n, item in enumerate(module.items) if item.item_id in index]
            for module in served.modules
        ]
        found = read(self.world, session, page, now_ms, self.pace)
        out = records(self.world, session, page, found, f"{self._name}-p{self._pages}", served.request_id)
        self._pages += 1
        self._see("page", served.strategy, session, [place.item for place in found.looked], found.acts)
        for record in out:
            self.world.observe(record)
        return out

    def react(self, session: Session, answer: bytes, now_ms: int) -> list[Event]:
        """Acts on the answer (JSON), each to be sent at its `ts`. Items of other worlds are passed over."""
        served = msgspec.json.decode(answer, type=Served)
        index = self.world.index
        places = [(n, index[item.item_id]) for n, item in enumerate(served.items) if item.item_id in index]
        out = []
        acts = react(self.world, session, [item for _, item in places], now_ms, self.pace)
        seen = looked(self.world.settings, session, len(places))
        self._see("list", served.strategy, session, [item for _, item in places[:seen]], acts)
        for act in acts:
            record = event(
                self.world, session, act._replace(position=places[act.position][0]), f"{self._name}-{self._acts}", served.request_id
            )
            self._acts += 1
            self.world.observe(record)
            out.append(record)
        return out

    def variety(self) -> Varieties:
        """Of the last LAST lists or pages of each strategy."""
        return {surface: {name: self._figures(seen) for name, seen in by.items()} for surface, by in self._seen.items()}

    def _see(self, surface: str, strategy: str, session: Session, items: list[int], acts: Sequence[Reaction]) -> None:
        done = [{act.action, *act.also} for act in acts]
        seen = Seen(session.listener, items, sum(Action.PLAY in each for each in done), sum(Action.DISLIKE in each for each in done))
        by = self._seen.setdefault(surface, {ALL: deque(maxlen=LAST)})
        by[ALL].append(seen)
        if strategy in by or len(by) <= STRATEGIES:
            by.setdefault(strategy, deque(maxlen=LAST)).append(seen)

    def _figures(self, seen: Sequence[Seen]) -> Variety:
        items: dict[int, set[int]] = {}
        for one in seen:
            items.setdefault(one.listener, set()).update(one.items)
        plays, shared = sum(one.plays for one in seen), overlap(list(items.values()), 0)
        return Variety(
            impressions=len(seen), categories_per_user=categories(items, self._category),
            overlap=None if isnan(shared) else shared, distinct_items=len(set().union(*items.values())),
            dislikes_per_1000_plays=1_000 * sum(one.dislikes for one in seen) / plays if plays else None,
        )  # fmt: skip
