"""The HTTP service of a worker: lists and pages out, events and items in. A service of `run_worker`, in the worker's own loop.

Lists and pages are made in a thread (`answers.py`); one leaves when Kafka has its exposure, an acceptance when Kafka has what
was accepted. Contracts, and the documentation at /docs, are the structs themselves.
"""
from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar, cast
from urllib.parse import unquote_to_bytes

import msgspec
from aiokafka.errors import KafkaError
from litestar import Litestar, Response, delete, get, post, put
from litestar import Request as Call
from litestar.exceptions import HTTPException

from streams.core.join.decode import validated
from streams.core.join.events import Exposure, Rejected
from streams.core.join.partition import Partition
from streams.core.serving.explain import Explanation, RecentTraces
from streams.core.serving.fusion import RequestError
from streams.core.serving.pages import Page, PageRequest
from streams.core.serving.recommend import STALE, Slate, SlateRequest
from streams.core.serving.surfaces import arms
from streams.http import accept
from streams.http.accept import NotTaken, Taken, Unusable
from streams.http.contracts import Health, Readiness, documentation
from streams.http.entrance import App, Entrance, Refusal
from streams.http.exporter import CONTENT_TYPE, WorkerMetrics
from streams.http.server import address, bind, serve
from streams.http.settings import ServingSettings
from streams.kafka_io.delivery import Delivery
from streams.kafka_io.messages import Out
from streams.worker.answers import PartitionMovedError, ServingThread
from streams.worker.process import Worker
from streams.worker.replica import Replica

UNLOGGED = "unlogged"  # flag: Kafka did not say in time that it has the exposure

log = logging.getLogger(__name__)

AnyCall = Call[Any, Any, Any]
R = TypeVar("R", SlateRequest, PageRequest)
A = TypeVar("A", Slate, Page)


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
        self._entrance = Entrance(cast(App, self._app()), s.token, s.max_body_bytes, s.max_in_flight, self._metrics.seen)
        await self._delivery.start()
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

    def _app(self) -> Litestar:
        docs = documentation()

        @post("/v1/recommendations", status_code=200)
        async def recommendations(request: AnyCall) -> Response[bytes]:
            return _json(200, await self._recommend(await request.body()))

        @post("/v1/pages", status_code=200)
        async def pages(request: AnyCall) -> Response[bytes]:
            return _json(200, await self._page(await request.body()))

        @post("/v1/events", status_code=202)
        async def events(request: AnyCall) -> Response[bytes]:
            return _json(202, await self._take_events(await request.body()))

        @put("/v1/items", status_code=200)
        async def items(request: AnyCall) -> Response[bytes]:
            return _json(200, await self._take_items(await request.body()))

        @delete("/v1/items/{item_id:path}", status_code=204)
        async def no_item(request: AnyCall) -> None:
            await self._send([accept.tombstone(_named(request, "/v1/items/", 256))])
            self._metrics.taken.labels("tombstones").inc()

        @get("/v1/explain/{request_id:path}")
        async def explain(request: AnyCall) -> Response[bytes]:
            return _json(200, await self._explain(_named(request, "/v1/explain/", 64)))

        @get("/healthz")
        async def healthz() -> Response[bytes]:
            stalled = self._worker.watchdog.stalled()
            return _json(503 if stalled else 200, Health(alive=not stalled, stalled=stalled))

        @get("/readyz")
        async def readyz() -> Response[bytes]:
            readiness = self._readiness()
            return _json(200 if readiness.ready else 503, readiness)

        @get("/metrics")
        async def metrics() -> Response[bytes]:
            self._metrics.in_flight.set(self._entrance.in_flight)
            return Response(self._metrics.text(), media_type=CONTENT_TYPE)

        @get("/docs")
        async def described() -> Response[bytes]:
            return Response(docs.html, media_type="text/html")

        @get("/docs/openapi.json")
        async def openapi() -> Response[bytes]:
            return Response(docs.openapi, media_type="application/json")

        return Litestar(
            [recommendations, pages, events, items, no_item, explain, healthz, readyz, metrics, described, openapi],
            openapi_config=None, logging_config=None, request_max_body_size=None,  # the entrance has bounded it
            exception_handlers={Refusal: _refused, HTTPException: _http_error, Exception: _our_error},
        )  # fmt: skip

    async def _recommend(self, body: bytes) -> Slate:
        answer = await self._answered(body, _request, self._serving.slate, "list")
        self._metrics.answers.labels(answer.strategy).inc()
        return answer

    async def _page(self, body: bytes) -> Page:
        page = await self._answered(body, _page_request, self._serving.page, "page")
        self._metrics.pages.labels(page.strategy).inc()
        return page

    async def _answered(
        self, body: bytes, read: Callable[[bytes], R], make: Callable[[R, str, Partition, int], Awaitable[tuple[A, Exposure | None, Any]]],
        what: str,
    ) -> A:  # fmt: skip
        """A list or a page, once Kafka has its exposure."""
        request, way = validated(body, read), f"send a request for a {what}, as /docs describes"
        if isinstance(request, Rejected):
            raise Refusal(400, f"{request.reason}: {request.detail}", "the body", way)
        partition = self._partition(request.user_id)
        try:
            made = await make(request, request.request_id or uuid.uuid4().hex, partition, time.time_ns() // 1_000_000)
        except RequestError as error:
            raise Refusal(400, str(error), f"the body, $.{error.field}", way) from None
        except PartitionMovedError as error:
            raise Refusal(503, str(error), "this worker", "ask again", retry_after_s=1) from None
        answer: A = made[0]
        exposure = made[1]
        if exposure is not None and not await self._logged(exposure):
            answer = msgspec.structs.replace(answer, flags=sorted({*answer.flags, STALE, UNLOGGED}))
        for flag in answer.flags:
            self._metrics.flags.labels(flag).inc()
        return answer

    async def _explain(self, request_id: str) -> Explanation:
        found = await self._serving.explain(request_id)
        if found is None:
            kept = self.config.service.explained_requests
            said = f"nothing is known here of a list or a page with the request id {request_id!r}"
            way = f"ask the worker that made it, and soon: each knows the last {kept:,} since its start (service.explained_requests)"
            raise Refusal(404, said, "the path", way)
        return found

    def _partition(self, user_id: str | None) -> Partition:
        """The user's; of a guest, any. Only its owner knows a user."""
        owned = self._worker.ingest.owned
        if user_id is None:
            if not owned:
                raise Refusal(503, "this worker owns no partition of events yet", "this worker", "ask again", retry_after_s=1)
            return owned[min(owned)].core
        number = self._delivery.partition(user_id.encode())
        if number not in owned:
            has = f"this worker owns {', '.join(map(str, sorted(owned))) or 'none'}"
            way = "ask the worker whose /readyz lists the partition; where none does, ask again"
            raise Refusal(503, f"the user is of partition {number}, and {has}", "this worker", way, retry_after_s=1)
        return owned[number].core

    async def _logged(self, exposure: Exposure) -> bool:
        """Write down what is about to be shown; False where Kafka doesn't say in time that it has it. It is still tried then."""
        row = Out("events", -1, exposure.user_id.encode(), msgspec.json.encode(exposure))
        sending = asyncio.ensure_future(self._delivery.append(row))
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

    async def _take_events(self, body: bytes) -> Taken:
        found = await self._sorted(accept.events, body)
        topics = self.config.topics
        await self._send(accept.event_rows(found.good, self._delivery.partition, topics.max_event_bytes))
        return self._taken("events", len(found.good), found.rejected)

    async def _take_items(self, body: bytes) -> Taken:
        found = await self._sorted(accept.catalog, body)
        await self._send(accept.item_rows(found.good))
        return self._taken("items", len(found.good), found.rejected)

    async def _sorted(self, sort: Any, body: bytes) -> Any:
        """In a thread: a broken array of the largest size takes long to search."""
        try:
            return await asyncio.to_thread(sort, body)
        except Unusable as error:
            self._metrics.refused.labels(error.reason).inc()
            raise

    def _taken(self, what: str, accepted: int, rejected: list[NotTaken]) -> Taken:
        self._metrics.taken.labels(what).inc(accepted)
        for one in rejected:
            self._metrics.refused.labels(one.reason).inc()
        return Taken(accepted=accepted, rejected=rejected)

    async def _send(self, rows: Iterable[Out]) -> None:
        try:
            async with asyncio.timeout(self.config.service.acknowledged_within_s):
                await self._delivery.send(rows)
        except (TimeoutError, KafkaError) as error:
            said = f"Kafka did not acknowledge it: {str(error) or 'no answer in time'}"
            way = "send it again (events with an event_id count once)"
            raise Refusal(503, said, "Kafka", way, retry_after_s=1) from error

    def _readiness(self) -> Readiness:
        worker = self._worker
        whole, owned = worker.catalog_reader.reader.caught_up.is_set(), sorted(worker.ingest.owned)
        waiting = [what for what, there in (("the catalog", whole), ("partitions of events", bool(owned))) if not there]
        return Readiness(
            ready=not waiting, waiting_for=waiting, catalog_items=len(worker.catalog), partitions=owned, model_version=self.model.version
        )


def _named(request: AnyCall, behind: str, longest: int) -> str:
    """The id at the end of a path, as it was sent: an id may hold a slash, or begin with one."""
    raw: bytes = request.scope["raw_path"]
    try:
        name = unquote_to_bytes(raw.partition(b"?")[0].removeprefix(behind.encode())).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "the id is not UTF-8", "the path", "percent-encode its UTF-8 bytes") from None
    if not 1 <= len(name) <= longest:
        raise Refusal(400, f"the id has {len(name):,} characters, and may have 1 to {longest}", "the path", f"send an id behind {behind}")
    return name


def _json(status: int, value: msgspec.Struct) -> Response[bytes]:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _refused(request: AnyCall, refusal: Refusal) -> Response[bytes]:
    return Response(refusal.body, status_code=refusal.status, media_type="application/json", headers=refusal.headers)


def _http_error(request: AnyCall, error: HTTPException) -> Response[bytes]:
    """What Litestar refuses: no such path, another method."""
    said = f"{HTTPStatus(error.status_code).phrase}: {request.method} {request.url.path[:256]}"
    refusal = Refusal(error.status_code, said, "the path", "GET /docs lists what there is")
    return Response(refusal.body, status_code=error.status_code, media_type="application/json", headers=error.headers)


def _our_error(request: AnyCall, error: Exception) -> Response[bytes]:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    refusal = Refusal(500, "the service failed; its log says why", "the service", "tell its operator the time of this answer")
    return _refused(request, refusal)


_request = msgspec.json.Decoder(SlateRequest).decode
_page_request = msgspec.json.Decoder(PageRequest).decode
