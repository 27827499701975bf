"""The HTTP service of a worker: lists and pages out, events and items in. A service of `run_worker`, in the worker's own loop.

Lists and pages are made in a thread (`answers.py`); one leaves when Kafka has its exposure, an acceptance when Kafka has what
was accepted. Contracts, and the documentation at /docs, are the structs themselves.
"""
from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from aiokafka.errors import KafkaError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streams.clock import now_ms
from streams.core.join import keys
from streams.core.join.admission import rows_are_stale
from streams.core.join.events import Event, Exposure
from streams.core.lookup.similar import SimilarRequest
from streams.core.serving.explain import RecentTraces
from streams.core.serving.fusion import RequestError
from streams.core.serving.pages import Page, PageRequest
from streams.core.serving.recommend import Slate, SlateRequest
from streams.core.serving.requests import Flag
from streams.core.serving.surfaces import arms
from streams.http import accept
from streams.http.accept import Decoded, Taken, TimeBounds, Unusable
from streams.http.answered import AnsweredRequests
from streams.http.batch import BatchRequest, each
from streams.http.contracts import Health, Readiness, documentation
from streams.http.entrance import Entrance, Json, Refusal
from streams.http.exporter import CONTENT_TYPE, WorkerMetrics
from streams.http.router import application, path_id
from streams.http.server import address, bind, serve
from streams.http.settings import ServingSettings
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Out
from streams.worker.answers import PartitionMovedError, ServingThread
from streams.worker.owned import OwnedPartition
from streams.worker.process import Worker
from streams.worker.replica import Replica
from streams.worker.unapplied import UnappliedRecord

NDJSON = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines")

log = logging.getLogger(__name__)

R = TypeVar("R", SlateRequest, PageRequest)
A = TypeVar("A", Slate, Page)
T = TypeVar("T")
Make = Callable[[R, str, OwnedPartition, int], Awaitable[tuple[tuple[A, Exposure | None, Any], UnappliedRecord | None]]]


class Service:
    """One worker's. Binds its address at once, so that it is known, and a taken one refused, before anything starts."""

    def __init__(self, config: ServingSettings) -> None:
        self.config = config
        self._socket = bind(config.service.host, config.service.port, "service")
        self.address = address(self._socket)
        self._thread = ThreadPoolExecutor(1, "answer")
        chosen = arms(config.pages, config.recommend)
        self.model = Replica(config.topics, config.replica, config.model, thread=self._thread, arms=chosen, bandit=config.bandit)
        recent = RecentTraces(config.service.explained_requests, config.service.explained_bytes)
        self._answered = AnsweredRequests(config.service.explained_requests, config.service.explained_bytes)
        self._serving = ServingThread(config.recommend, config.pages, config.partition, self.model, self._thread, recent)
        self._delivery = Delivery(config.topics)  # its own: behind a worker's effects, which are large, lists would wait for their turn
        self._worker: Worker
        self._metrics: WorkerMetrics
        self._entrance: Entrance
        self._unlogged: set[asyncio.Future[Any]] = set()

    @property
    def url(self) -> str:
        """Where it answers."""
        host, port = self.address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def __call__(self, worker: Worker) -> None:
        """In this order: get all changes; answer; load the model, once events are taken in."""
        self._worker = worker
        worker.serve(self._serving)
        self._metrics = WorkerMetrics(worker, self.model)
        s = self.config.service
        self._entrance = Entrance(application(self._routes()), s.token, s.max_body_bytes, s.max_in_flight, self._metrics.seen)
        await self._delivery.start()
        self.model.own.delivery = self._delivery
        following = asyncio.create_task(self._follow())
        try:
            await serve(self._entrance, self._socket)
        finally:
            following.cancel()
            await self._delivery.stop()
            self._thread.shutdown(wait=False)

    async def _follow(self) -> None:
        while not self._worker.ready:
            await asyncio.sleep(0.05)
        self._thread.submit(lambda: self.model.strategy_bandit)  # it loads scipy, 0.8 s: no request should wait for that
        await self.model.run()

    def _routes(self) -> list[Route]:
        docs = documentation()

        async def html(request: Request) -> Response:
            return Response(docs.html, media_type="text/html")

        async def openapi(request: Request) -> Response:
            return Response(docs.openapi, media_type="application/json")

        return [
            Route("/v1/recommendations", self._recommend, methods=["POST"]),
            Route("/v1/recommendations:batch", self._batch, methods=["POST"]),
            Route("/v1/pages", self._page, methods=["POST"]),
            Route("/v1/similar", self._similar, methods=["POST"]),
            Route("/v1/explain/{request_id:id}", self._explain),
            Route("/v1/events", self._take_events, methods=["POST"]),
            Route("/v1/items", self._take_items, methods=["PUT"]),
            Route("/v1/items/{item_id:id}", self._delete_item, methods=["DELETE"]),
            Route("/v1/items/{item_id:id}", self._known_item),
            Route("/v1/users/{user_id:id}", self._known_user),
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._figures),
            Route("/docs", html),
            Route("/docs/openapi.json", openapi),
        ]

    async def _recommend(self, request: Request) -> Response:
        return Json(await self._respond(await request.body(), SlateRequest, Slate, self._serving.slate))

    async def _page(self, request: Request) -> Response:
        return Json(await self._respond(await request.body(), PageRequest, Page, self._serving.page))

    async def _batch(self, request: Request) -> Response:
        batch = accept.request(await request.body(), BatchRequest, self._times())
        return Json(await each(batch, lambda one: self._once(one, Slate, self._serving.slate)))

    async def _similar(self, request: Request) -> Response:
        return Json(await self._serving.similar(accept.request(await request.body(), SimilarRequest), now_ms()))

    async def _respond(self, body: bytes, takes: type[R], gives: type[A], make: Make[R, A]) -> A:
        """A slate or a page: the one that this request was answered with before, else a new one."""
        return await self._once(accept.request(body, takes, self._times()), gives, make)

    async def _once(self, request: R, gives: type[A], make: Make[R, A]) -> A:
        served, again = await self._answered.once(request, gives, lambda: self._served(request, make))
        self._metrics.repeated.inc(again)
        return served

    async def _served(self, request: R, make: Make[R, A]) -> A:
        """A slate or a page, once Kafka has its exposure."""
        if request.seen is None:
            request = msgspec.structs.replace(request, seen=self.config.service.served_is_seen)
        owned, now = self._partition(request.user_id), now_ms()
        flags: set[Flag] = {Flag.CATCHING_UP} if owned.number in self._worker.ingest.catching_up() else set()
        flags |= {Flag.STALE_ROWS} if rows_are_stale(owned.core.progress, now) else set()
        try:
            made, unapplied = await make(request, request.request_id or uuid.uuid4().hex, owned, now)
        except RequestError as error:
            raise Refusal(400, str(error), f"the body, $.{error.field}", accept.WAY[type(request)]) from None
        except PartitionMovedError as error:
            raise Refusal(503, str(error), "this worker", "ask again", retry_after_s=1) from None
        served: A = made[0]
        exposure: Exposure | None = made[1]
        if exposure is not None and unapplied is not None:
            since_ms = now - self.config.recommend.no_repeat_window_ms
            flags |= {Flag.REPEATS} if owned.unapplied.forgot(keys.key("user", exposure.user_id), since_ms) else set()
            flags |= {Flag.STALE, Flag.UNLOGGED} if not await self._logged(exposure, unapplied) else set()
        if flags:
            served = msgspec.structs.replace(served, flags=sorted({*served.flags, *flags}))
        self._metrics.observe(served)
        return served

    def _times(self) -> TimeBounds:
        """What times an event may have now."""
        return TimeBounds(self.config.events.earliest_ts, now_ms(), self.config.partition.allowed_future_ms)

    async def _explain(self, request: Request) -> Response:
        request_id = path_id(request)
        found = await self._serving.explain(request_id)
        if found is None:
            kept = self.config.service.explained_requests
            error = f"nothing is known here of a list or a page with the request id {request_id!r}"
            way = f"ask the worker that made it, and soon: each knows the last {kept:,} since its start (service.explained_requests)"
            raise Refusal(404, error, "the path", way)
        return Json(found)

    async def _known_item(self, request: Request) -> Response:
        item_id = path_id(request)
        found = await self._looked_up(self._serving.known_item(item_id, self._partition(None), now_ms()))
        return Json(_there(found, "item", item_id, "put it into the catalog, or send events of it"))

    async def _known_user(self, request: Request) -> Response:
        user_id = path_id(request)
        found = await self._looked_up(self._serving.known_user(user_id, self._partition(user_id), now_ms()))
        return Json(_there(found, "user", user_id, "send events of this user"))

    async def _looked_up(self, found: Awaitable[T]) -> T:
        try:
            return await found
        except PartitionMovedError as error:
            raise Refusal(503, str(error), "this worker", "ask again", retry_after_s=1) from None

    def _partition(self, user_id: str | None) -> OwnedPartition:
        """The user's; of a guest, any. Only its owner knows a user."""
        owned = self._worker.ingest.owned
        if user_id is None:
            if not owned:
                raise Refusal(503, "this worker owns no partition of events yet", "this worker", "ask again", retry_after_s=1)
            return owned[min(owned)]
        number = self._delivery.partition(user_id.encode())
        if number not in owned:
            has = f"this worker owns {', '.join(map(str, sorted(owned))) or 'none'}"
            way = "ask the worker whose /readyz lists the partition; where none does, ask again"
            raise Refusal(503, f"the user is of partition {number}, and {has}", "this worker", way, retry_after_s=1)
        return owned[number]

    async def _logged(self, exposure: Exposure, unapplied: UnappliedRecord) -> bool:
        """Write down what is about to be shown; False where Kafka doesn't say in time that it has it. It is still tried then."""
        row = Out("events", -1, exposure.user_id.encode(), msgspec.json.encode(exposure))

        async def append() -> None:
            unapplied.place = await self._delivery.append(row), 0

        sending = asyncio.ensure_future(append())
        try:
            async with asyncio.timeout(self.config.service.acknowledged_within_s):
                await asyncio.shield(sending)
            return True
        except (TimeoutError, KafkaError) as error:
            log.warning("an answer left before Kafka had its exposure: %s", str(error) or "no answer in time")
            self._unlogged.add(sending)
            sending.add_done_callback(self._forget)
            return False

    def _forget(self, sending: asyncio.Future[Any]) -> None:
        self._unlogged.discard(sending)
        if not sending.cancelled() and sending.exception() is not None:
            log.warning("an exposure is lost: %s", sending.exception())

    async def _take_events(self, request: Request) -> Response:
        decode = functools.partial(accept.events, times=self._times(), lines=_is_ndjson(request))
        return Json(await self._take("events", await request.body(), decode, self._send_events), 202)

    async def _take_items(self, request: Request) -> Response:
        decode = functools.partial(accept.catalog, times=self._times(), lines=_is_ndjson(request))
        return Json(await self._take("items", await request.body(), decode, lambda good: self._send(accept.item_rows(good))))

    async def _take(
        self, what: str, body: bytes, decode: Callable[[bytes], Decoded[T]], send: Callable[[list[T]], Awaitable[Any]]
    ) -> Taken:
        """Send what of a body can be used. It is decoded in a thread: a broken array of the largest size takes long to search."""
        try:
            found = await asyncio.to_thread(decode, body)
        except Unusable as error:
            for reason in error.reasons:
                self._metrics.refused.labels(reason).inc()
            raise
        await send(found.good)
        self._metrics.taken.labels(what).inc(len(found.good))
        for one in found.rejected:
            self._metrics.refused.labels(one.reason).inc()
        return Taken(accepted=len(found.good), rejected=found.rejected, warnings=found.warnings)

    async def _delete_item(self, request: Request) -> Response:
        (offset,) = await self._send([accept.tombstone(path_id(request))])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.config.service.acknowledged_within_s):
                await self._worker.catalog_reader.reached(offset)
        self._metrics.taken.labels("tombstones").inc()
        return Response(status_code=204)

    async def _send_events(self, records: list[Event | Exposure]) -> None:
        """Send them; those of this worker's users count for the next request, wherever the state is by then."""
        rows = accept.event_rows(records, self._delivery.partition, self.config.topics.max_event_bytes)
        offsets, now = await self._send([row.out for row in rows]), now_ms()
        for row, offset in zip(rows, offsets, strict=True):
            owned = self._worker.ingest.owned.get(row.out.partition)
            if owned is not None:
                for index, record in enumerate(row.holds):
                    owned.unapplied.put(record, now, (offset, index))

    async def _send(self, rows: Iterable[Out]) -> list[int]:
        """Send records; their offsets."""
        try:
            async with asyncio.timeout(self.config.service.acknowledged_within_s):
                return await self._delivery.send(rows)
        except (TimeoutError, KafkaError) as error:
            problem = f"Kafka did not acknowledge it: {str(error) or 'no answer in time'}"
            way = "send it again (events with an event_id count once)"
            raise Refusal(503, problem, "Kafka", way, retry_after_s=1) from error

    async def _healthz(self, request: Request) -> Response:
        health = Health.of(self._worker.stalled(), self._worker.log_ends.silent)
        return Json(health, 200 if health.alive else 503)

    async def _readyz(self, request: Request) -> Response:
        worker = self._worker
        whole, owned = worker.catalog_reader.reader.caught_up.is_set(), sorted(worker.ingest.owned)
        waiting = [what for what, there in (("the catalog", whole), ("partitions of events", bool(owned))) if not there]
        readiness = Readiness(
            ready=not waiting, waiting_for=waiting, catalog_items=len(worker.catalog), partitions=owned,
            catching_up=worker.ingest.catching_up(), model_version=self.model.version,
        )  # fmt: skip
        return Json(readiness, 200 if readiness.ready else 503)

    async def _figures(self, request: Request) -> Response:
        self._metrics.in_flight.set(self._entrance.in_flight)
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)


def _is_ndjson(request: Request) -> bool:
    """Whether the body is said to hold a JSON value a line."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() in NDJSON


def _there(found: T | None, what: str, name: str, way: str) -> T:
    if found is None:
        raise Refusal(404, f"nothing is known here of the {what} {name[:64]!r}", "the path", way)
    return found
