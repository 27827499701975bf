"""Simulated listeners in front of the live service: they request slates and pages, and send their feedback on them.

Who comes and how they react comes in as functions (`replay` has them; `cli` wires them in). Feedback waits until its
time, then goes out in batches, a few times a second. A service that is away is asked again; the feedback is kept, and its
event ids make a second arrival harmless.
"""
from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import aiohttp
import msgspec

from streams.clock import now_ms
from streams.core.join.events import Event

IN_FLIGHT = 16  # requests under way at once; more would measure the queue, not the service
SEND_EVERY_S = 0.05  # small beside the 300 ms that freshness allows
BATCH = 500  # most feedback of one request
RETRY_S = 0.5  # before a service that failed is asked again
FEEDBACK_GUESS = 9.0  # of a slate or a page, before any was served
TIMEOUT_S = 5.0
SLATES, PAGES = "/v1/recommendations", "/v1/pages"

Visitor = TypeVar("Visitor")


@dataclass(slots=True)
class Activity:
    """What the listeners have done so far; it may be read at any time."""

    lists: int = 0  # slates
    pages: int = 0
    empty: int = 0  # of both, those without feedback
    feedback: int = 0  # accepted by the service
    actions: dict[str, int] = field(default_factory=dict)  # of that feedback; one may have several
    failed: int = 0  # requests refused or lost, of either kind


class Surface(NamedTuple, Generic[Visitor]):
    """How listeners use one surface.

    `ask(now_ms)` gives a request's body and who visits; `react(visitor, body, now_ms)` gives the feedback on what was served, each
    event due at its ts.
    """

    ask: Callable[[int], tuple[bytes, Visitor]]
    react: Callable[[Visitor, bytes, int], list[Event]]


class Listeners(Generic[Visitor]):
    """Visits of listeners: a share of `page_share` is to pages, evenly spread, the others are to slates.

    Raises ValueError where `events_per_s` isn't above 0 or `page_share` not in [0, 1].
    """

    def __init__(self, slates: Surface[Visitor], pages: Surface[Visitor], events_per_s: float, page_share: float) -> None:
        if events_per_s <= 0:
            raise ValueError(f"events_per_s must be above 0, got {events_per_s}")
        if not 0.0 <= page_share <= 1.0:
            raise ValueError(f"page_share must be in [0, 1], got {page_share}")
        self._slates, self._pages, self._page_share = slates, pages, page_share
        self.events_per_s = events_per_s
        self.activity = Activity()
        self._due: list[tuple[int, int, Event]] = []  # heap of (ts, number, feedback)
        self._visits = 0  # begun
        self._made = 0  # feedback on all slates and pages
        self._served = 0  # slates and pages
        self._encoder = msgspec.json.Encoder()

    async def run(self, base_url: str, stop: asyncio.Event) -> Activity:
        """Visit until `stop` is set; feedback not yet due is then dropped."""
        limits = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(base_url, headers={"content-type": "application/json"}, timeout=limits) as session,
            asyncio.TaskGroup() as group,
        ):
            visits: set[asyncio.Task[None]] = set()
            parts = [group.create_task(self._arrive(session, group, visits)), group.create_task(self._send(session))]
            await stop.wait()
            for part in [*parts, *visits]:
                part.cancel()
        return self.activity

    async def _arrive(self, session: aiohttp.ClientSession, group: asyncio.TaskGroup, visits: set[asyncio.Task[None]]) -> None:
        """Start visits so that feedback arises at the wanted rate; what a slow service costs is not caught up with."""
        loop = asyncio.get_running_loop()
        owed, last = 0.0, loop.time()
        while True:
            now = loop.time()
            per_visit = self._made / self._served if self._served >= IN_FLIGHT else FEEDBACK_GUESS
            owed = min(owed + (now - last) * self.events_per_s / max(per_visit, 1.0), float(IN_FLIGHT))
            last = now
            while owed >= 1.0 and len(visits) < IN_FLIGHT:
                owed -= 1.0
                task = group.create_task(self._visit(session))
                visits.add(task)
                task.add_done_callback(visits.discard)
            await asyncio.sleep(0.01)

    async def _visit(self, session: aiohttp.ClientSession) -> None:
        self._visits += 1
        page = int(self._visits * self._page_share) > int((self._visits - 1) * self._page_share)
        surface, path = (self._pages, PAGES) if page else (self._slates, SLATES)
        request, visitor = surface.ask(now_ms())
        body, _ = await self._post(session, path, request)
        if body is None:
            await asyncio.sleep(RETRY_S)
            return
        try:
            feedback = surface.react(visitor, body, now_ms())
        except msgspec.DecodeError:
            self.activity.failed += 1
            return
        self.activity.pages += page
        self.activity.lists += not page
        self.activity.empty += not feedback
        self._served += 1
        for event in feedback:
            heapq.heappush(self._due, (event.ts, self._made, event))
            self._made += 1

    async def _send(self, session: aiohttp.ClientSession) -> None:
        """Send feedback when it is due; a batch that the service refuses for good is dropped."""
        while True:
            now = now_ms()
            batch: list[tuple[int, int, Event]] = []
            while self._due and self._due[0][0] <= now and len(batch) < BATCH:
                batch.append(heapq.heappop(self._due))
            if batch:
                body, again = await self._post(session, "/v1/events", self._encoder.encode([event for _, _, event in batch]))
                if body is not None:
                    self.activity.feedback += len(batch)
                    self._count(batch)
                elif again:
                    for waiting in batch:
                        heapq.heappush(self._due, waiting)
                    await asyncio.sleep(RETRY_S)
            if len(batch) < BATCH:
                await asyncio.sleep(SEND_EVERY_S)

    def _count(self, batch: list[tuple[int, int, Event]]) -> None:
        actions = self.activity.actions
        for _, _, event in batch:
            for action in (event.action, *event.also):
                actions[action.value] = actions.get(action.value, 0) + 1

    async def _post(self, session: aiohttp.ClientSession, path: str, request: bytes) -> tuple[bytes | None, bool]:
        """The body of the response (None where the request failed), and whether the same request is worth another try."""
        again = True
        try:
            async with session.post(path, data=request) as response:
                body = await response.read()
                if response.status < 300:
                    return body, False
                again = response.status >= 500 or response.status == 429  # else the fault is ours, and stays
        except (aiohttp.ClientError, TimeoutError, OSError):
            pass
        self.activity.failed += 1
        return None, again
