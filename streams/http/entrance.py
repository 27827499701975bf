"""Limits in front of every request, before anything of it is parsed: its token, its size, and how many are under way.

Plain ASGI. A body is read whole, within its bound and its time, and handed on. The body of a refused request is read too
and dropped, up to a bound: a client that still writes when the connection closes sees a reset and not the answer.
"""
from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from streams.core.json_fields import about
from streams.http.encodings import KNOWN, DamagedError, TooLargeError, UnknownEncodingError, unpacked

OPEN = ("/healthz", "/readyz")  # for supervisors, which have no token; they hold nothing of any user
BOUNDED = "/v1/"  # what counts as in flight: the rest is cheap, and has to answer under load
BODY_S = 10.0  # for a body to arrive; a client that is slower holds a place that others need
DROPPED_BYTES = 64 << 20  # of a body that is refused: read and forgotten, so that the client reads why

Seen = Callable[[str, str, int, float], None]  # method, path, status, seconds


class Json(Response):
    """A struct as JSON.

    >>> Json(Problem(error="none", where="here", what_to_do="nothing")).body
    b'{"error":"none","where":"here","what_to_do":"nothing"}'
    """

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """A struct as the bytes of its JSON."""
        return msgspec.json.encode(content)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The one shape of every error."""

    error: Annotated[str, about("what is wrong, and what was found")]
    where: Annotated[str, about("the part of the request, or of the service")]
    what_to_do: Annotated[str, about("what to do about it")]


class Refusal(Exception):  # noqa: N818 - it is an answer
    """Ends a request with an error that is meant for the client."""

    def __init__(self, status: int, error: str, where: str, what_to_do: str, retry_after_s: int | None = None) -> None:
        super().__init__(error)
        self.status = status
        self.problem = Problem(error=error, where=where, what_to_do=what_to_do)
        self.headers = {"retry-after": str(retry_after_s)} if retry_after_s is not None else {}
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"

    def response(self) -> Response:
        """The answer."""
        return Json(self.problem, self.status, self.headers)


class Entrance:
    """An application with these limits in front of it. `seen` is called once a request has been answered."""

    def __init__(self, app: ASGIApp, token: str = "", max_body_bytes: int = 0, max_in_flight: int = 1, seen: Seen | None = None) -> None:
        self._app, self._token, self._max_body_bytes, self._max_in_flight = app, token.encode(), max_body_bytes, max_in_flight
        self._seen = seen
        self.in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, observed)
        finally:
            if self._seen is not None:
                self._seen(scope["method"], scope["path"], status, time.perf_counter() - begun)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        """In this order: token, place, body, application."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        incoming = _Incoming(receive)
        bounded = scope["path"].startswith(BOUNDED)
        try:
            self._check(scope["path"], headers.get(b"authorization", b""))
            if bounded and self.in_flight >= self._max_in_flight:
                wait = "wait as long as the header retry-after says, and send it again"
                raise Refusal(429, f"{self._max_in_flight} requests are under way, as many as may be", "the service", wait, retry_after_s=1)
        except Refusal as refusal:
            await _refuse(refusal, incoming, scope, receive, send)
            return
        self.in_flight += bounded
        try:
            try:
                body = await self._body(headers, incoming)
            except Refusal as refusal:
                await _refuse(refusal, incoming, scope, receive, send)
                return
            if not incoming.gone:
                await self._app(scope, _replay(body, receive), send)
        finally:
            self.in_flight -= bounded

    def _check(self, path: str, given: bytes) -> None:
        if not self._token or path in OPEN:
            return
        scheme, _, token = given.partition(b" ")
        if not hmac.compare_digest(token.strip(), self._token) or scheme.lower() != b"bearer":
            found = "another token" if given else "no token"
            wanted = "send `authorization: Bearer TOKEN`"
            raise Refusal(401, f"this service wants a bearer token, and got {found}", "the header authorization", wanted)

    async def _body(self, headers: dict[bytes, bytes], incoming: _Incoming) -> bytes:
        """All of it, or what came before the client was gone."""
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_body_bytes:
            raise self._too_large(f"{int(length):,}")
        chunks, size = [], 0
        try:
            async with asyncio.timeout(BODY_S):
                while not incoming.ended:
                    chunks.append(await incoming.chunk())
                    size += len(chunks[-1])
                    if size > self._max_body_bytes:
                        raise self._too_large(f"more than {self._max_body_bytes:,}")
        except TimeoutError:
            way = "send it faster, or in smaller parts"
            raise Refusal(408, f"the body did not arrive within {BODY_S:.0f} s", "the body", way) from None
        encoding = headers.get(b"content-encoding", b"").decode("latin-1")
        return b"".join(chunks) if incoming.gone else self._unpacked(b"".join(chunks), encoding)

    def _unpacked(self, body: bytes, encoding: str) -> bytes:
        try:
            return unpacked(body, encoding, self._max_body_bytes)
        except TooLargeError:
            raise self._too_large(f"more than {self._max_body_bytes:,} (unpacked)") from None
        except UnknownEncodingError as error:
            way = f"send it as it is, or with content-encoding {' or '.join(KNOWN)}"
            refusal = Refusal(415, str(error), "the header content-encoding", way)
            refusal.headers["accept-encoding"] = ", ".join(KNOWN)  # RFC 9110, 15.5.16
            raise refusal from None
        except DamagedError as error:
            raise Refusal(400, str(error), "the body", "compress it whole, or send it as it is") from None

    def _too_large(self, found: str) -> Refusal:
        way = "send smaller arrays, or raise service.max_body_bytes"
        return Refusal(413, f"the body has {found} bytes, and may have {self._max_body_bytes:,}", "the body", way)


class _Incoming:
    """A body on its way."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = self.gone = False  # all of it has come; the client has left before

    async def chunk(self) -> bytes:
        message = await self._receive()
        self.gone = message["type"] == "http.disconnect"
        self.ended = self.gone or not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part


def _replay(body: bytes, receive: Receive) -> Receive:
    """The whole body as one message; after it what comes from the client."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


async def _refuse(refusal: Refusal, incoming: _Incoming, scope: Scope, receive: Receive, send: Send) -> None:
    if dict(scope["headers"]).get(b"expect", b"").lower() != b"100-continue":  # else nothing was sent yet: the client asks first
        await _drop(incoming)
    if not incoming.ended:
        refusal.headers["connection"] = "close"
    await refusal.response()(scope, receive, send)


async def _drop(incoming: _Incoming) -> None:
    """Read what is left of a body and forget it, within bounds."""
    dropped = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(BODY_S):
            while not incoming.ended and dropped <= DROPPED_BYTES:
                dropped += len(await incoming.chunk())
