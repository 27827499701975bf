"""From a request to a list or a page, beside the taking in of events: one thread, which alone has the shelves and moves the model on.

What changes (items, popularity, versions of the model) and what is asked go through that thread one by one, so nothing
is locked, a list is of one moment, and the version it names is the one that scored it. Of what is asked one is there at a
time, the rest waits in front of it in the order it came: a change waits for one list, however many are asked for.

Two threads share one interpreter lock, which a model gives up and wants back with each of its operations: a busy loop
would take 5 ms each time. So taking in waits, between two small slices, for the list that is being made (`turn`).
Measured on two busy cores, 20 lists and 20,000 events a second asked for: list p50 / p99 31 / 54 ms without turns, 21 /
32 ms with them, 18 / 25 ms when made in the loop itself, which then stands still for 22 ms (p99) instead of 10.
"""
from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
from rocksdict import DbClosedError

from online_model.features import POPULARITY_HALF_LIVES_H
from online_model.popularity import POPULAR, Increment, of_item
from streams.core.join import co_listening, keys
from streams.core.join.catalog import Catalog, CatalogItem
from streams.core.join.events import Event, Exposure
from streams.core.join.partition import Partition
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.serving.catalog_index import POPULAR_HALF_LIFE_H, CatalogIndex
from streams.core.serving.explain import Explanation, RecentTraces, explained
from streams.core.serving.model_view import ModelView
from streams.core.serving.pages import PageMaker, PageRequest, PageSettings, ServedPage
from streams.core.serving.recommend import Recommender, RecommendSettings, ServedSlate, SlateRequest
from streams.core.state.rows import UserState
from streams.core.state.tables import Row
from streams.watchdog import end
from streams.worker.replica import Replica

SEED = 0  # of chance in lists; what makes two lists differ is the id and the time of their requests
T = TypeVar("T")
_DAY = POPULARITY_HALF_LIVES_H.index(POPULAR_HALF_LIFE_H)


class Moved(Exception):  # noqa: N818 - it is an answer
    """The partition was given up while a list or a page was being made of it."""


class Answers:
    """Told of all that changes, from the event loop; asked for lists and pages, from the event loop."""

    def __init__(
        self, settings: RecommendSettings, pages: PageSettings, partition: PartitionSettings, model: Replica, thread: Executor,
        recent: RecentTraces,
    ) -> None:  # fmt: skip
        """`thread`: one, the same that the model moves on in. `recent`: of what can be explained; from here on that thread's."""
        self._catalog, self._shelves = Catalog(), CatalogIndex()  # a catalog of its own, so that both are of one moment
        self._recommender = Recommender(settings, partition, self._catalog, self._shelves)
        self._pages = PageMaker(pages, self._recommender)
        self._decay = of_item(partition.rate_half_life_h)
        self._model, self._thread, self._recent = model, thread, recent
        self._line = asyncio.Lock()  # whose turn it is among those that ask
        self._making: asyncio.Future[Any] | None = None

    async def answer(self, request: SlateRequest, request_id: str, partition: Partition, now_ms: int) -> ServedSlate:
        """The list, which can be explained from then on. `partition`: the user's; of a guest, any."""
        return await self._made(self._make, request, request_id, _user(request.user_id, partition), partition, now_ms)

    async def page(self, request: PageRequest, request_id: str, partition: Partition, now_ms: int) -> ServedPage:
        """The page; the rest as of a list."""
        return await self._made(self._make_page, request, request_id, _user(request.user_id, partition), partition, now_ms)

    async def explain(self, request_id: str) -> Explanation | None:
        """Why one of the last lists is as it is; None of any other."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._explain, request_id)

    async def turn(self) -> None:
        """Let the list or page that is being made, if there is one, be made first; those behind it wait for the next turn."""
        if self._making is not None:
            await asyncio.wait([self._making])

    def take(self, changes: Sequence[tuple[CatalogItem | str, int]]) -> None:
        """Items that are new or have changed; a string is the id of one that is deleted. Each with its record's time."""
        self._later(self._take, changes)

    def hear(self, increments: Iterable[Increment]) -> None:
        """What events added to the popularity of items."""
        good = [i for i in increments if i.mask & POPULAR]
        if good:
            self._later(self._hear, good)

    def meet(self, arrived: Iterable[Arrived]) -> None:
        """Items by their names, as events have them: all that is known where there is no catalog."""
        names: dict[str, None] = {}
        for record in (a.record for a in arrived):
            if isinstance(record, Event):
                names[record.item_id] = None
            elif isinstance(record, Exposure):
                names |= {slot.item_id: None for slot in record.slots}
        if names:
            self._later(self._meet, names)

    def begin(self, popularity: Iterable[Row], co_listening: Iterable[Row]) -> None:
        """What was kept of items: rows of one partition, or of all, each partition's then under the item's key."""
        self._later(self._begin, popularity, co_listening)

    async def _made(self, make: Callable[..., T], *given: Any) -> T:
        async with self._line:
            self._making = asyncio.get_running_loop().run_in_executor(self._thread, make, *given)
            try:
                return await self._making
            finally:
                self._making = None

    def _make(self, request: SlateRequest, request_id: str, user: UserState | None, partition: Partition, now_ms: int) -> ServedSlate:
        with _at(partition):
            made = self._recommender.recommend(request, request_id, user, partition.glance, self._view(), now_ms, SEED)
        self._recent.put(request_id, made.trace)
        return made

    def _make_page(self, request: PageRequest, request_id: str, user: UserState | None, partition: Partition, now_ms: int) -> ServedPage:
        with _at(partition):
            made = self._pages.page(request, request_id, user, partition.glance, self._view(), now_ms, SEED)
        self._recent.put(request_id, made.trace)
        return made

    def _view(self) -> ModelView:
        """The model as it is now."""
        m = self._model
        if m.version is None:
            return ModelView(bandit=m.strategy_bandit)
        return ModelView(
            predict=m.predict, user_vector=m.user_vector, bandit=m.strategy_bandit, version=m.version, age_ms=m.age_ms, stale=m.stale
        )

    def _explain(self, request_id: str) -> Explanation | None:
        trace = self._recent.get(request_id)
        if trace is None:
            return None
        there = self._model.version is not None
        return explained(request_id, trace, self._recommender.name, self._model.attended if there else None, self._model.version)

    def _take(self, changes: Sequence[tuple[CatalogItem | str, int]]) -> None:
        for change, ms in changes:
            if isinstance(change, str):
                self._catalog.delete(change)
                self._shelves.delete(keys.key("item", change))
            else:
                self._catalog[change.key] = change
                self._shelves.put(change, ms)

    def _hear(self, increments: Iterable[Increment]) -> None:
        for increment in increments:
            self._shelves.add(increment)

    def _meet(self, names: Iterable[str]) -> None:
        for name in names:
            self._shelves.add_uncatalogued(name)

    def _begin(self, popularity_rows: Iterable[Row], co_listening_rows: Iterable[Row]) -> None:
        sums: dict[int, tuple[int, float]] = {}
        parts: dict[int, list[bytes]] = {}
        for key, row in co_listening_rows:
            parts.setdefault(int.from_bytes(key, "big"), []).append(row)
        for key, row in popularity_rows:
            item, at = int.from_bytes(key, "big"), self._decay.newest(row)
            popularity = self._decay.read(row, at)[_DAY]
            before = sums.get(item)
            if before is not None:
                earlier, later = sorted((before, (at, popularity)))
                at = later[0]
                popularity = later[1] + earlier[1] * 2.0 ** (-(at - earlier[0]) / (POPULAR_HALF_LIFE_H * keys.HOUR_MS))
            sums[item] = (at, popularity)
        for item, (at, popularity) in sums.items():
            self._shelves.seed(item, popularity, at)
        for item, of in parts.items():
            self._shelves.co_listening.put(item, co_listening.merge(of))

    def _later(self, work: Callable[..., None], *given: Any) -> None:
        self._thread.submit(_whole, work, *given)


def _whole(work: Callable[..., None], *given: Any) -> None:
    try:
        work(*given)
    except Exception as error:  # noqa: BLE001 - shelves that miss a change would be wrong from here on, unnoticed
        end("keeping what lists are made of failed", error)


@contextmanager
def _at(partition: Partition) -> Iterator[None]:
    """While something is made of the partition: it may be given up."""
    try:
        yield
    except DbClosedError as error:
        raise Moved(f"partition {partition.number} has just moved to another worker") from error


def _user(user_id: str | None, partition: Partition) -> UserState | None:
    """Of a guest, and of somebody who never came, there is none."""
    found = partition.user(keys.key("user", user_id)) if user_id is not None else None
    return _copied(found) if found is not None else None


def _copied(state: UserState) -> UserState:
    """As it is now: the loop goes on changing it in place. What is inside of its maps is never changed, only replaced."""
    maps = {name: dict(value) for name, value in msgspec.structs.asdict(state).items() if isinstance(value, dict)}
    return msgspec.structs.replace(state, **maps)
