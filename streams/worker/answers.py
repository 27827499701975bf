"""From a request to a slate or a page, beside ingest: one thread, which alone holds the candidate index and updates the model.

Changes (items, popularity, versions of the model) and requests go through that thread one by one. So nothing is locked,
a slate is of one moment, and the version it names is the one that scored it. One request at a time is in the thread; the
others wait in front of it in the order they came. So a change waits for one slate, however many are requested.

A request is served from the user's state with all applied to it that this worker has served or taken over HTTP and that the
state does not have yet (`unapplied.py`). What it serves is put there before the next request's turn, so that requests of one
user that come together see each other.

Two threads share one interpreter lock, which a model releases and takes again with each of its operations: a busy event
loop would hold it for 5 ms each time. So ingest waits, between two small slices, for the slate that is being made (`turn`).
Measured on two busy cores at 20 slates and 20,000 events a second, slate p50 / p99: 31 / 54 ms without turns, 21 / 32 ms
with them, 18 / 25 ms when made in the event loop itself, which then stands still for 22 ms (p99) instead of 10.
"""
from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

import msgspec
from rocksdict import DbClosedError

from online_model.features import POPULARITY_HALF_LIVES_H
from online_model.popularity import POPULAR, Increment, newest, of_item
from streams.core.join import co_listening, keys
from streams.core.join.catalog import Catalog, CatalogItem
from streams.core.join.events import Event, Exposure
from streams.core.join.records import Arrived
from streams.core.join.settings import PartitionSettings
from streams.core.lookup.known_item import KnownItem, known_item
from streams.core.lookup.known_user import KnownUser, known_user
from streams.core.lookup.similar import SimilarItems, SimilarRequest, similar
from streams.core.serving.catalog_index import POPULAR_HALF_LIFE_H, CatalogIndex
from streams.core.serving.explain import Explanation, RecentTraces, explained
from streams.core.serving.model_view import ModelView
from streams.core.serving.pages import PageMaker, PageRequest, PageSettings, ServedPage
from streams.core.serving.recommend import Recommender, RecommendSettings, ServedSlate, SlateRequest
from streams.core.serving.requests import applied
from streams.core.state.rows import UserState
from streams.core.state.tables import Row
from streams.watchdog import end
from streams.worker.owned import OwnedPartition
from streams.worker.replica import Replica
from streams.worker.unapplied import UnappliedRecord

SEED = 0  # of the draws in slates; two slates differ by the id and the time of their requests
log = logging.getLogger(__name__)
T = TypeVar("T")
Served = TypeVar("Served", ServedSlate, ServedPage)
_DAY = POPULARITY_HALF_LIVES_H.index(POPULAR_HALF_LIFE_H)


class PartitionMovedError(Exception):
    """The partition was given up while a slate or a page was being made of it."""


class ServingThread:
    """Makes slates and pages in a thread of its own. All methods are called from the event loop, changes and requests alike."""

    def __init__(
        self, settings: RecommendSettings, pages: PageSettings, partition: PartitionSettings, model: Replica, thread: Executor,
        recent: RecentTraces,
    ) -> None:  # fmt: skip
        """`thread`: a single one, in which `model` applies its versions too. `recent`: traces for `explain`; only that thread uses it."""
        self._catalog, self._index = Catalog(), CatalogIndex()  # a catalog of its own, so that both are of one moment
        self._recommender = Recommender(settings, partition, self._catalog, self._index)
        self._pages = PageMaker(pages, self._recommender)
        self._partition, self._decay = partition, of_item(partition.rate_half_life_h)
        self._model, self._thread, self._recent = model, thread, recent
        self._requests = asyncio.Lock()  # held by the request that is in the thread
        self._making: asyncio.Future[Any] | None = None
        self._same_for_all = False  # as it was said

    @property
    def order_agreement(self) -> float | None:
        """How alike the orders are that the model gives to different users: 1 = the same; None: not enough were compared."""
        return self._recommender.scorer.order_watch.agreement

    async def slate(
        self, request: SlateRequest, request_id: str, owned: OwnedPartition, now_ms: int
    ) -> tuple[ServedSlate, UnappliedRecord | None]:
        """The slate, which can be explained from then on, and its exposure, whose place is unknown yet. `owned`: for a guest, any.

        Raises PartitionMovedError where another worker got the partition meanwhile.
        """
        return await self._serve(self._recommender.recommend, request, request_id, owned, now_ms)

    async def page(
        self, request: PageRequest, request_id: str, owned: OwnedPartition, now_ms: int
    ) -> tuple[ServedPage, UnappliedRecord | None]:
        """The page; parameters and errors as of `slate`."""
        return await self._serve(self._pages.page, request, request_id, owned, now_ms)

    async def explain(self, request_id: str) -> Explanation | None:
        """Why one of the newest slates or pages is as it is; None for any other request."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._explain, request_id)

    async def similar(self, request: SimilarRequest, now_ms: int) -> SimilarItems:
        """Items that are similar to others."""
        return await self._in_executor(self._similar, request, now_ms)

    async def known_item(self, item_id: str, owned: OwnedPartition, now_ms: int) -> KnownItem | None:
        """What is known of an item; None where nothing is. `owned`: any."""
        return await self._in_executor(known_item, item_id, self._catalog, self._index, owned.core.glance, now_ms)

    async def known_user(self, user_id: str, owned: OwnedPartition, now_ms: int) -> KnownUser | None:
        """What is known of a user, with what the state does not have yet; None where nothing is."""
        return await self._in_executor(self._known_user, user_id, _user(user_id, owned), now_ms)

    async def turn(self) -> None:
        """Wait for the slate or page that is being made, if there is one; those behind it wait for the next turn."""
        if self._making is not None:
            await asyncio.wait([self._making])

    def update_items(self, changes: Sequence[tuple[CatalogItem | str, int]]) -> None:
        """Index items that are new or have changed; a string is the id of a deleted one. Each with its record's time, ms."""
        self._submit(self._update_items, changes)

    def note_catalog(self) -> None:
        """A catalog has been written at some time, though nothing of it may be left."""
        self._submit(setattr, self._index, "catalogued", True)

    def add_popularity(self, increments: Iterable[Increment]) -> None:
        """Add what events contributed to the popularity of items."""
        good = [i for i in increments if i.mask & POPULAR]
        if good:
            self._submit(_for_each, self._index.add, good)

    def add_named_items(self, arrived: Iterable[Arrived]) -> None:
        """Index the items that events name: all there is without a catalog."""
        names: dict[str, None] = {}
        for record in (a.record for a in arrived):
            if isinstance(record, Event):
                names[record.item_id] = None
            elif isinstance(record, Exposure):
                names |= {slot.item_id: None for slot in record.slots}
        if names:
            self._submit(_for_each, self._index.add_uncatalogued, names)

    def seed_popularity(self, popularity: Iterable[Row], co_listening: Iterable[Row]) -> None:
        """What was kept of items: rows of one partition, or of all, each partition's then under the item's key."""
        self._submit(self._seed_popularity, popularity, co_listening)

    async def _serve(
        self, make: Callable[..., Served], request: SlateRequest | PageRequest, request_id: str, owned: OwnedPartition, now_ms: int
    ) -> tuple[Served, UnappliedRecord | None]:
        async with self._requests:
            user = _user(request.user_id, owned)
            served = await self._in_thread(self._make, make, request, request_id, owned, user, now_ms)
            exposure = served.exposure
            return served, owned.unapplied.put(exposure, now_ms) if exposure is not None else None

    async def _in_executor(self, look: Callable[..., T], *arguments: Any) -> T:
        """For what is only looked up. Raises PartitionMovedError where another worker got the partition meanwhile."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, look, *arguments)
        except DbClosedError as error:
            raise PartitionMovedError("a partition has just moved to another worker") from error

    def _similar(self, request: SimilarRequest, now_ms: int) -> SimilarItems:
        return similar(self._recommender, request, now_ms, self._view())

    def _known_user(self, user_id: str, user: _User, now_ms: int) -> KnownUser | None:
        state = user.state
        if user.unapplied:
            state = applied(user.key, state, user.unapplied, self._partition, self._catalog, user.watermark_ms)
        return known_user(user_id, state, self._catalog, self._index, self._recommender.scorer.view, now_ms) if state else None

    async def _in_thread(self, make: Callable[..., T], *arguments: Any) -> T:
        """For the request that has `_requests`."""
        self._making = asyncio.get_running_loop().run_in_executor(self._thread, make, *arguments)
        try:
            return await self._making
        finally:
            self._making = None

    def _make(
        self, make: Callable[..., Served], request: SlateRequest | PageRequest, request_id: str, owned: OwnedPartition,
        user: _User, now_ms: int,
    ) -> Served:  # fmt: skip
        state, core = user.state, owned.core
        if user.unapplied:
            state = applied(user.key, state, user.unapplied, self._partition, self._catalog, user.watermark_ms)
        try:
            served = make(request, request_id, state, core.glance, self._view(), now_ms, SEED)
        except DbClosedError as error:
            raise PartitionMovedError(f"partition {core.number} has just moved to another worker") from error
        if not request.dry_run:
            self._recent.put(request_id, served.trace)
        self._warn_of_one_order()
        return served

    def _warn_of_one_order(self) -> None:
        """Once, until orders differ again."""
        same = self._recommender.scorer.order_watch.same_for_all
        if same and not self._same_for_all:
            log.warning(
                "the model gives everybody the same order (segue_order_agreement is %.4f over the last requests of different users):"
                " its scores of an item do not depend on the user; segue_score_spread says how far they lie apart",
                self.order_agreement,
            )
        self._same_for_all = same

    def _view(self) -> ModelView:
        """The model as it is now."""
        m = self._model
        if m.version is None:
            return ModelView(bandit=m.strategy_bandit)
        return ModelView(
            predict=m.predict, user_vector=m.user_vector, vectors=m.vectors, bandit=m.strategy_bandit, version=m.version,
            age_ms=m.age_ms, stale=m.stale,
        )  # fmt: skip

    def _explain(self, request_id: str) -> Explanation | None:
        trace = self._recent.get(request_id)
        if trace is None:
            return None
        there = self._model.version is not None
        return explained(request_id, trace, self._recommender.name, self._model.attended if there else None, self._model.version)

    def _update_items(self, changes: Sequence[tuple[CatalogItem | str, int]]) -> None:
        for change, ms in changes:
            if isinstance(change, str):
                self._catalog.delete(change)
                self._index.delete(keys.key("item", change))
            else:
                self._catalog[change.key] = change
                self._index.put(change, ms)

    def _seed_popularity(self, popularity_rows: Iterable[Row], co_listening_rows: Iterable[Row]) -> None:
        sums: dict[int, tuple[int, float]] = {}
        parts: dict[int, list[bytes]] = {}
        for key, row in co_listening_rows:
            parts.setdefault(int.from_bytes(key, "big"), []).append(row)
        for key, row in popularity_rows:
            item, at = int.from_bytes(key, "big"), newest(row)
            popularity = self._decay.read(row, at)[_DAY]
            before = sums.get(item)
            if before is not None:
                earlier, later = sorted((before, (at, popularity)))
                at = later[0]
                popularity = later[1] + earlier[1] * 2.0 ** (-(at - earlier[0]) / (POPULAR_HALF_LIFE_H * keys.HOUR_MS))
            sums[item] = (at, popularity)
        for item, (at, popularity) in sums.items():
            self._index.seed(item, popularity, at)
        for item, rows in parts.items():
            self._index.co_listening.put(item, co_listening.merge(rows))

    def _submit(self, work: Callable[..., None], *arguments: Any) -> None:
        self._thread.submit(_or_end, work, *arguments)


def _or_end(work: Callable[..., None], *arguments: Any) -> None:
    try:
        work(*arguments)
    except Exception as error:  # noqa: BLE001 - an index that misses a change would be wrong from here on, unnoticed
        end("updating the candidate index failed", error)


def _for_each(change: Callable[[T], None], values: Iterable[T]) -> None:
    for value in values:
        change(value)


class _User(NamedTuple):
    """The user of a request at one moment."""

    key: int
    state: UserState | None  # a copy; None of a guest, and of a user without events
    unapplied: Sequence[Arrived]  # records that the state does not have yet
    watermark_ms: int  # of the partition


def _user(user_id: str | None, owned: OwnedPartition) -> _User:
    if user_id is None:
        return _User(0, None, (), -1)
    key = keys.key("user", user_id)
    state = owned.core.user(key)
    return _User(key, _copied(state) if state is not None else None, owned.unapplied.of(key), owned.core.progress.watermark_ms)


def _copied(state: UserState) -> UserState:
    """The state as it is now: the event loop goes on changing it in place. Values of its maps are never changed, only replaced."""
    maps = {name: dict(value) for name, value in msgspec.structs.asdict(state).items() if isinstance(value, dict)}
    return msgspec.structs.replace(state, **maps)
