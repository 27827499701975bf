"""The world's listeners in front of a live service: what they ask, and how they react to its answer.

Bytes in, records out: the network belongs to `streams/listeners.py`, the clock to the caller. Who comes next follows
the simulated day, at the rate the caller asks; acts carry the caller's time and lie in its future.
"""
from __future__ import annotations

import msgspec

from replay.page_reactions import Place, read, records
from replay.reactions import event, react
from replay.simulator import Session, World
from streams.core.events import Context, Event


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
    modules: list[ServedModule]


class Crowd:
    """`pace`: how much faster than in life they listen. A list takes an hour / pace at most: the join window must hold it."""

    def __init__(self, world: World, seed: int, k: int = 10, pace: float | None = None) -> None:
        self.world, self.k, self.pace = world, k, pace
        self._sessions = world.sessions(seed)
        self._name = f"{world.settings.start_ms:x}-{seed}"  # of events: never that of an earlier run
        self._acts = self._pages = 0

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
        for record in out:
            self.world.observe(record)
        return out

    def react(self, session: Session, answer: bytes, now_ms: int) -> list[Event]:
        """Acts on the answer (JSON), each to be sent at its `ts`. Items of other worlds are passed over."""
        served = msgspec.json.decode(answer, type=Served)
        index = self.world.index
        places = [(n, index[item.item_id]) for n, item in enumerate(served.items) if item.item_id in index]
        out = []
        for act in react(self.world, session, [item for _, item in places], now_ms, self.pace):
            record = event(
                self.world, session, act._replace(position=places[act.position][0]), f"{self._name}-{self._acts}", served.request_id
            )
            self._acts += 1
            self.world.observe(record)
            out.append(record)
        return out
