"""From a request to its handler, and from what a handler raises to the one shape of an error. Plain ASGI, behind `Entrance`.

The table of routes is the service's own, without a framework. One whose handlers are typed decodes the bodies itself: it
refuses an array for one bad element, answers in its own words, and (Litestar 2.25, tried) its OpenAPI has no bounds of array
elements and map keys, and no docstrings. Untyped handlers leave it nothing but these few paths.
"""
from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

import msgspec

from streams.http.entrance import Receive, Refusal, Scope, Send, refuse, respond

LONGEST = {"item_id": 256, "request_id": 64}  # characters of an id in a path

log = logging.getLogger(__name__)


class Request(NamedTuple):
    """What a handler gets of a request."""

    body: bytes
    id: str  # at the end of the path; "" where the route has none


class Response(NamedTuple):
    """What a handler answers with."""

    status: int
    body: bytes = b""
    kind: str = "application/json"


Handler = Callable[[Request], Awaitable[Response]]


def json(status: int, value: msgspec.Struct) -> Response:
    """A struct as JSON.

    >>> class Pair(msgspec.Struct):
    ...     a: int
    ...     b: int
    >>> json(200, Pair(1, 2)).body
    b'{"a":1,"b":2}'
    """
    return Response(status, msgspec.json.encode(value))


class Router:
    """An ASGI application over handlers by route, as `GET /v1/explain/{request_id}`: a path has one method, an id only at its end."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._routes: dict[str, tuple[str, Handler, str]] = {}  # path up to its id -> (method, handler, name of the id)
        for route, handler in handlers.items():
            method, _, path = route.partition(" ")
            before, _, name = path.rstrip("}").partition("{")
            self._routes[before] = (method, handler, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whose body comes whole."""
        body = (await receive())["body"]
        method, path = scope["method"], scope["path"]
        at = "/" + "/".join(part for part in path.split("/") if part)
        before = at if at in self._routes else next((p for p in self._routes if p.endswith("/") and at.startswith(p)), None)
        try:
            if before is None:
                raise _not_routed(HTTPStatus.NOT_FOUND, method, path)
            allowed, handler, name = self._routes[before]
            if method == "OPTIONS":
                await respond(send, 204, "", b"", [(b"allow", ", ".join(sorted(("OPTIONS", allowed))).encode())])
                return
            if method != allowed:
                raise _not_routed(HTTPStatus.METHOD_NOT_ALLOWED, method, path, {"allow": f"{allowed}, OPTIONS"})
            status, content, kind = await handler(Request(body, _id(scope["raw_path"], before, LONGEST[name]) if name else ""))
            await respond(send, status, kind, content)
        except Refusal as refusal:
            await refuse(send, refusal)
        except Exception as error:
            log.error("%s %s failed", method, path, exc_info=error)
            way = "tell its operator the time of this answer"
            await refuse(send, Refusal(500, "the service failed; its log says why", "the service", way))


def _not_routed(status: HTTPStatus, method: str, path: str, headers: Mapping[str, str] | None = None) -> Refusal:
    refusal = Refusal(status, f"{status.phrase}: {method} {path[:256]}", "the path", "GET /docs lists what there is")
    refusal.headers |= headers or {}
    return refusal


def _id(raw_path: bytes, before: str, longest: int) -> str:
    """The id at the end of a path, as it was sent: an id may hold a slash, or begin with one."""
    try:
        name = unquote_to_bytes(raw_path.partition(b"?")[0].removeprefix(before.encode())).decode()
    except UnicodeDecodeError:
        raise Refusal(400, "the id is not UTF-8", "the path", "percent-encode its UTF-8 bytes") from None
    if not 1 <= len(name) <= longest:
        raise Refusal(400, f"the id has {len(name):,} characters, and may have 1 to {longest}", "the path", f"send an id behind {before}")
    return name
