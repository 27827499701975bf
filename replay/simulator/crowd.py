"""The world's listeners in front of a live service: what they request, and how they react to its response.

Bytes in, records out: the network belongs to `streams/demo/listeners.py`, the clock to the caller. Who comes next follows
the simulated day, at the rate the caller asks; acts carry the caller's time and lie in its future.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from replay.simulator.page_curves import by_listener, categories, overlap, per_1000
from replay.simulator.page_reactions import Place, Read, read, records
from replay.simulator.reactions import event
from replay.simulator.world import Session, World
from streams.core.join.events import Action, Context, Event
from streams.core.serving.recommend import ALL
from streams.core.serving.surfaces import Varieties, Variety

LAST = 256  # slates or pages of a strategy that its figures are of
STRATEGIES = 64  # of a surface that are told apart


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """The request of a slate or a page, as far as listeners know."""

    user_id: str
    k: int | UnsetType = UNSET  # of a slate; how large a page is, the service decides
    domain: str
    context: Context


class ServedItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of the response, as far as listeners look."""

    item_id: str


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A slate, as far as listeners look; items in order."""

    request_id: str
    strategy: str = ""
    items: list[ServedItem]


class ServedModule(msgspec.Struct, frozen=True, kw_only=True):
    """A module of a page, as far as listeners look; items in order."""

    name: str
    items: list[ServedItem]


class ServedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page, as far as listeners look; modules in order."""

    request_id: str
    strategy: str = ""
    modules: list[ServedModule]


class Seen(NamedTuple):
    """What a listener looked at in one slate or page, and did."""

    listener: int
    items: list[int]
    plays: int
    dislikes: int


class Crowd:
    """`pace`: how much faster than in life they listen. A slate takes an hour / pace at most: the join window must hold it."""

    def __init__(self, world: World, seed: int, k: int = 10, pace: float | None = None) -> None:
        self.world, self.k, self.pace = world, k, pace
        self._sessions = world.sessions(seed)
        self._name = f"{world.settings.start_ms:x}-{seed}"  # of events: never that of an earlier run
        self._acts = self._pages = 0
        self._seen: dict[str, dict[str, deque[Seen]]] = {}  # surface -> strategy, ALL first -> the last ones

    def ask(self, now_ms: int) -> tuple[bytes, Session]:
        """The next listener's request of a slate (JSON), and what `react` wants back."""
        return self._request(self.k)

    def ask_page(self, now_ms: int) -> tuple[bytes, Session]:
        """The next listener's request of a page (JSON), and what `react_page` wants back."""
        return self._request(UNSET)

    def _request(self, k: int | UnsetType) -> tuple[bytes, Session]:
        session = next(self._sessions)
        domain = self.world.settings.domains[session.domain].name
        request = Request(user_id=self.world.user_ids[session.listener], k=k, domain=domain, context=session.context)
        return msgspec.json.encode(request), session

    def react(self, session: Session, response: bytes, now_ms: int) -> list[Event]:
        """Acts on the slate (JSON), each to be sent at its `ts`. Items of other worlds are passed over."""
        served = msgspec.json.decode(response, type=Served)
        found = read(self.world, session, [self._places("", served.items)], now_ms, self.pace)
        acts = [reaction._replace(position=found.looked[reaction.position].position) for reaction in found.acts]
        out = [event(self.world, session, reaction, f"{self._name}-{n}", served.request_id) for n, reaction in enumerate(acts, self._acts)]
        self._acts += len(out)
        self._see("list", served.strategy, session, found, out)
        return out

    def react_page(self, session: Session, response: bytes, now_ms: int) -> list[Event]:
        """Acts on the page (JSON) and one impression, as `react` does; within the same hour / pace."""
        served = msgspec.json.decode(response, type=ServedPage)
        page = [self._places(module.name, module.items) for module in served.modules]
        found = read(self.world, session, page, now_ms, self.pace)
        out = records(self.world, session, page, found, f"{self._name}-p{self._pages}", served.request_id)
        self._pages += 1
        self._see("page", served.strategy, session, found, out)
        return out

    def variety(self) -> Varieties:
        """Of the last LAST slates or pages of each strategy."""
        return {surface: {name: self._figures(seen) for name, seen in strategies.items()} for surface, strategies in self._seen.items()}

    def _places(self, module: str, items: Sequence[ServedItem]) -> list[Place]:
        index = self.world.index
        return [Place(module, n, index[item.item_id]) for n, item in enumerate(items) if item.item_id in index]

    def _see(self, surface: str, strategy: str, session: Session, found: Read, events: Sequence[Event]) -> None:
        """Take in what a listener looked at and did."""
        for record in events:
            self.world.observe(record)
        actions = [{record.action, *record.also} for record in events]
        plays, dislikes = (sum(action in each for each in actions) for action in (Action.PLAY, Action.DISLIKE))
        seen = Seen(session.listener, [place.item for place in found.looked], plays, dislikes)
        strategies = self._seen.setdefault(surface, {ALL: deque(maxlen=LAST)})
        strategies[ALL].append(seen)
        if strategy in strategies or len(strategies) <= STRATEGIES:
            strategies.setdefault(strategy, deque(maxlen=LAST)).append(seen)

    def _figures(self, seen: Sequence[Seen]) -> Variety:
        items = by_listener((each.listener, each.items) for each in seen)
        return Variety(
            impressions=len(seen), categories_per_user=categories(items, self.world.label), overlap=_known(overlap(items, 0)),
            distinct_items=len(set().union(*items)),
            dislikes_per_1000_plays=_known(per_1000(sum(each.dislikes for each in seen), sum(each.plays for each in seen))),
        )  # fmt: skip


def _known(figure: float) -> float | None:
    return figure if figure == figure else None
