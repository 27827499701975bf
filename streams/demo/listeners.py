"""Simulated listeners in front of the live service: they ask for lists and pages, and send what they do with them.

Who asks and how they react comes in as functions (`replay` has them; `cli` wires them in). Acts wait until
their time has come, then go out together, a few times a second. A service that is away is asked again; its acts
are kept, and their event ids make a second arrival harmless.
"""
from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import aiohttp
import msgspec

from streams.core.join.events import Event

ASKING = 16  # requests under way at once; more would measure the queue, not the service
SEND_EVERY_S = 0.05  # small beside the 300 ms that freshness allows
SEND_AT_MOST = 500  # acts of one request
WAIT_S = 0.5  # before a service that failed is asked again
ACTS_GUESS = 9.0  # of a list or a page, before any was seen
TIMEOUT_S = 5.0
LISTS, PAGES = "/v1/recommendations", "/v1/pages"

Who = TypeVar("Who")


@dataclass(slots=True)
class Heard:
    """What the listeners have done so far; read it at any time."""

    lists: int = 0
    pages: int = 0
    empty: int = 0  # of both, those that nothing was done with
    acts: int = 0  # accepted by the service
    actions: dict[str, int] = field(default_factory=dict)  # of these acts; one act may be several
    failed: int = 0  # requests refused or lost, of either kind
    last_error: str = ""
    refused: dict[str, int] = field(default_factory=dict)  # HTTP status -> requests


class Surface(NamedTuple, Generic[Who]):
    """How something is asked for: `ask(now_ms)` gives a request's body and who asks; `react(who, answer, now_ms)` gives acts, each due
    at its ts.
    """

    ask: Callable[[int], tuple[bytes, Who]]
    react: Callable[[Who, bytes, int], list[Event]]


class Listeners(Generic[Who]):
    """`page_share` of them ask for a page, evenly spread, the others for a list."""

    def __init__(
        self,
        lists: Surface[Who],
        now_ms: Callable[[], int],
        events_per_s: float,
        token: str | None = None,
        pages: Surface[Who] | None = None,
        page_share: float = 0.0,
    ) -> None:
        if events_per_s <= 0:
            raise ValueError(f"events_per_s must be above 0, got {events_per_s}")
        if not 0.0 <= page_share <= 1.0 or (page_share and pages is None):
            raise ValueError(f"page_share must be in [0, 1], and 0 where nobody knows how to ask for a page; got {page_share}")
        self._lists, self._pages, self._page_share = lists, pages, page_share
        self.now_ms, self.events_per_s = now_ms, events_per_s
        self.heard = Heard()
        self._headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self._due: list[tuple[int, int, Event]] = []
        self._visits = 0  # begun
        self._made = 0  # acts of all lists and pages
        self._answered = 0  # lists and pages that acts came of
        self._encoder = msgspec.json.Encoder()

    async def run(self, base_url: str, stop: asyncio.Event) -> Heard:
        """Listen until `stop` is set; acts not yet due are then left undone."""
        limits = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(base_url, headers=self._headers, timeout=limits) as session, asyncio.TaskGroup() as group:
            visits: set[asyncio.Task[None]] = set()
            parts = [group.create_task(self._arrive(session, group, visits)), group.create_task(self._send(session))]
            await stop.wait()
            for part in [*parts, *visits]:
                part.cancel()
        return self.heard

    async def _arrive(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup, visits: set[asyncio.Task[None]]) -> None:
        """Start requests so that acts arise at the wanted rate; what a slow service costs is not caught up with."""
        loop = asyncio.get_running_loop()
        owed, last = 0.0, loop.time()
        while True:
            now = loop.time()
            per_list = self._made / self._answered if self._answered >= ASKING else ACTS_GUESS
            owed = min(owed + (now - last) * self.events_per_s / max(per_list, 1.0), float(ASKING))
            last = now
            while owed >= 1.0 and len(visits) < ASKING:
                owed -= 1.0
                task = group.create_task(self._visit(session))
                visits.add(task)
                task.add_done_callback(visits.discard)
            await asyncio.sleep(0.01)

    async def _visit(self, session: aiohttp.ClientSession) -> None:
        page = self._asks_for_page()
        way, path = (page, PAGES) if page is not None else (self._lists, LISTS)
        body, who = way.ask(self.now_ms())
        answer, _ = await self._post(session, path, body)
        if answer is None:
            await asyncio.sleep(WAIT_S)
            return
        try:
            acts = way.react(who, answer, self.now_ms())
        except msgspec.DecodeError as error:
            self.heard.failed += 1
            self.heard.last_error = f"{path}: {error}"
            return
        self.heard.pages += page is not None
        self.heard.lists += page is None
        self.heard.empty += not acts
        self._answered += 1
        for act in acts:
            heapq.heappush(self._due, (act.ts, self._made, act))
            self._made += 1

    def _asks_for_page(self) -> Surface[Who] | None:
        """How the next visit asks for one; None where it asks for a list."""
        self._visits += 1
        return self._pages if int(self._visits * self._page_share) > int((self._visits - 1) * self._page_share) else None

    async def _send(self, session: aiohttp.ClientSession) -> None:
        while True:
            now = self.now_ms()
            batch: list[tuple[int, int, Event]] = []
            while self._due and self._due[0][0] <= now and len(batch) < SEND_AT_MOST:
                batch.append(heapq.heappop(self._due))
            if batch:
                answer, again = await self._post(session, "/v1/events", self._encoder.encode([act for _, _, act in batch]))
                if answer is not None:
                    self.heard.acts += len(batch)
                    self._count(batch)
                elif again:
                    for waiting in batch:
                        heapq.heappush(self._due, waiting)
                    await asyncio.sleep(WAIT_S)
            if len(batch) < SEND_AT_MOST:
                await asyncio.sleep(SEND_EVERY_S)

    def _count(self, batch: list[tuple[int, int, Event]]) -> None:
        actions = self.heard.actions
        for _, _, act in batch:
            for action in (act.action, *act.also):
                actions[action.value] = actions.get(action.value, 0) + 1

    async def _post(self, session: aiohttp.ClientSession, path: str, body: bytes) -> tuple[bytes | None, bool]:
        """The answer's body (None where there is none), and whether the same request is worth another try."""
        again = True
        try:
            async with session.post(path, data=body) as response:
                answer = await response.read()
                if response.status < 300:
                    return answer, False
                status = str(response.status)
                self.heard.refused[status] = self.heard.refused.get(status, 0) + 1
                self.heard.last_error = f"{path}: {status} {answer[:200].decode(errors='replace')}"
                again = response.status >= 500 or response.status == 429  # else the fault is ours, and stays
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.heard.last_error = f"{path}: {type(error).__name__} {error}"
        self.heard.failed += 1
        return None, again
